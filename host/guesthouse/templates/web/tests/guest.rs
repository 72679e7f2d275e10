//! The guest as it will run: built for WebAssembly, and called in a sandbox of guesthouse.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Builds the guest, once for all tests.
fn guest() -> &'static PathBuf {
    static GUEST: OnceLock<PathBuf> = OnceLock::new();
    GUEST.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("it is in the target folder");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--target",
                "wasm32-wasip2",
                "--target-dir",
            ])
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the guest does not build");
        target.join("wasm32-wasip2/release/@CRATE@.wasm")
    })
}

/// Calls the guest once with this body.
fn call(body: &str) -> Output {
    Command::new("guesthouse")
        .arg("run")
        .arg(guest())
        .args(["--data", body])
        .output()
        .expect("guesthouse is on PATH (pip install guesthouse)")
}

#[test]
fn it_greets() {
    let answer = call(r#"{"name":"Ada"}"#);
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(answer.stdout, br#"{"message":"Hello, Ada!"}"#);
}

#[test]
fn a_body_that_does_not_parse_is_refused() {
    let answer = call("{");
    assert!(!answer.status.success());
    assert!(
        String::from_utf8_lossy(&answer.stderr).contains("status 400"),
        "{answer:?}"
    );
}
