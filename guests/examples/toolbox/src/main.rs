//! Several commands in one file: which of them it is depends on the name by which it is called, the first of its
//! arguments. So one module serves as many functions, deployed with `--arg cat`, `--arg env`, `--arg sha512sum`.

use std::env::args;
use std::process::{ExitCode, Termination};

#[path = "../../cat/src/main.rs"]
mod cat;
#[path = "../../env/src/main.rs"]
mod env;
#[path = "../../sha512sum/src/main.rs"]
mod sha512sum;

fn main() -> ExitCode {
    let path = args().next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match name {
        "cat" => cat::main(),
        "env" => env::main().report(),
        "sha512sum" => sha512sum::main().report(),
        _ => {
            eprintln!("toolbox: there is no {name:?}; call it cat, env or sha512sum");
            ExitCode::from(127)
        }
    }
}
