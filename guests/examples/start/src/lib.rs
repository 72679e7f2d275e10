//! `POST /start/NAME` starts the spawn function NAME with the request's body as its payload.
//! 202 says that it was accepted; how it ends, nobody hears here.

use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResponse, WebResult, invoke};
use momento_functions_spawn::{SpawnError, spawn};
use serde_json::json;

invoke!(start);
fn start(payload: Data) -> WebResult<WebResponse> {
    let (status, answer) = match spawn(WebEnvironment::load().http_path(), payload) {
        Ok(()) => (202, json!({ "accepted": true })),
        Err(error) => (status(&error), json!({ "error": error.to_string() })),
    };
    Ok(WebResponse::new()
        .with_status(status)
        .header("content-type", "application/json")
        .with_body(answer)?)
}

fn status(error: &SpawnError) -> u16 {
    match error {
        SpawnError::FunctionNotFound => 404,
        SpawnError::Limit(_) => 429,
        SpawnError::InternalError => 500,
    }
}
