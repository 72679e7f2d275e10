//! Starts what the body lists, `[{"name":"work","payload":"{}"},{"name":"work","old":true}]`: through
//! `momento:spawn/spawn`, or with `old` through `momento:host/spawn` of the older generation.
//! `POST /spawn-calls/NAME` starts NAME with the body itself, unread.

use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::{Extract, Json};
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};
use momento_functions_host as older;
use momento_functions_spawn::spawn;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Start {
    name: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    old: bool,
}

fn start(asked: Start) -> Value {
    let result = if asked.old {
        older::spawn(asked.name, asked.payload).map_err(|error| error.to_string())
    } else {
        spawn(asked.name, asked.payload).map_err(|error| error.to_string())
    };
    result.map_or_else(|error| json!(error), |()| json!("ok"))
}

invoke!(spawn_calls);
fn spawn_calls(body: Data) -> WebResult<Value> {
    let name = WebEnvironment::load().http_path();
    if !name.is_empty() {
        let result = spawn(name, body).map_err(|error| error.to_string());
        return Ok(result.map_or_else(|error| json!(error), |()| json!("ok")));
    }
    let Json(asked) = Json::<Vec<Start>>::extract(body)?;
    Ok(asked.into_iter().map(start).collect())
}
