//! Reads the whole request body into its memory, however large, and answers its length and
//! SHA-256: whatever arrived, arrived whole.

use momento_functions_bytes::Data;
use momento_functions_guest_web::invoke;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

invoke!(echo_read);
fn echo_read(body: Data) -> Value {
    let bytes = body.into_bytes();
    json!({
        "length": bytes.len(),
        "sha256": format!("{:x}", Sha256::digest(&bytes)),
    })
}
