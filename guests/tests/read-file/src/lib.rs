//! Answers the file whose name is its body: web functions see the same files as commands.

use std::fs;

use momento_functions_guest_web::{WebResult, invoke};

invoke!(read_file);
fn read_file(name: String) -> WebResult<Vec<u8>> {
    Ok(fs::read(name)?)
}
