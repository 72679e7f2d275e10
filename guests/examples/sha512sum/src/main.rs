//! Answers the SHA-512 of its body, as the program of that name prints it.

use std::io;

use sha2::{Digest, Sha512};

pub fn main() -> io::Result<()> {
    let mut hash = Sha512::new();
    io::copy(&mut io::stdin().lock(), &mut hash)?;
    println!("{:x}  -", hash.finalize());
    Ok(())
}
