//! Answers its body. With file names as arguments (`cat /var/openfaas/secrets/key`) it answers these files, with the
//! body where `-` stands.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;

pub fn main() -> ExitCode {
    let mut names: Vec<_> = env::args().skip(1).collect();
    if names.is_empty() {
        names.push("-".to_string());
    }
    let mut code = ExitCode::SUCCESS;
    for name in names {
        if let Err(error) = print(&name) {
            eprintln!("cat: {name}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn print(name: &str) -> io::Result<u64> {
    let mut input: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(name)?),
    };
    io::copy(&mut input, &mut io::stdout().lock())
}
