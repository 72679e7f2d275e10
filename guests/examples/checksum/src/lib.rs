//! Answers the SHA-256 of the request's body, which it reads as it arrives and never holds whole.
//! A body that breaks off is answered with an error, and not with the checksum of a part.

use std::io;

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebResult, invoke};
use sha2::{Digest, Sha256};

invoke!(checksum);
fn checksum(mut body: Data) -> WebResult<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut body, &mut hasher)?;
    Ok(format!("{:x}", hasher.finalize()))
}
