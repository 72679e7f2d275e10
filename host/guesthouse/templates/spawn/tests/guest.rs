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
fn it_does_its_job() {
    let run = call(r#"{"name":"Ada"}"#);
    assert_eq!(run.stdout, b"ok\n", "{run:?}");
    assert!(
        String::from_utf8_lossy(&run.stderr).contains("Hello, Ada!"),
        "{run:?}"
    );
}

#[test]
fn a_job_can_fail() {
    let run = call(r#"{"name":""}"#);
    assert!(!run.status.success());
    assert!(
        String::from_utf8_lossy(&run.stderr).contains("nobody to greet"),
        "{run:?}"
    );
}
