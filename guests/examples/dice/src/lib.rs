//! Throws `/dice/N` dice with the host's randomness, the kind that is good enough for keys.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use serde_json::{Value, json};

/// A fair throw: the four numbers beyond 42 * 6 would favour some sides and are thrown again.
fn throw() -> Result<u8, getrandom::Error> {
    loop {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        if byte[0] < 42 * 6 {
            return Ok(byte[0] % 6 + 1);
        }
    }
}

invoke!(dice);
fn dice(_: Data) -> WebResult<Value> {
    let count: usize = WebEnvironment::load().http_path().parse()?;
    let throws: Vec<u8> = (0..count).map(|_| throw()).collect::<Result<_, _>>()?;
    Ok(json!(throws))
}
