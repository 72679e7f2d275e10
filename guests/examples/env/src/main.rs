//! Prints its environment: what the deployment sets, the host's own variables, and the request (`Http_Method`,
//! `Http_Path`, `Http_Query`, `Http_` and a header's name).

use std::env;
use std::io::{self, Write};

pub fn main() -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    for (name, value) in env::vars() {
        writeln!(output, "{name}={value}")?;
    }
    output.flush()
}
