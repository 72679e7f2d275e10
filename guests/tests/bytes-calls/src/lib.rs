//! Does to the buffer of the request's body what `?do=` lists: `["remaining",{"read":4},{"advance":2},
//! {"try_read":9}]`. What each call answered comes as the header `x-answers`, the rest of the
//! buffer as the body; with `"drop"` the buffer is dropped.

use momento_functions_bytes::Data;
use momento_functions_bytes::wit::momento::bytes::bytes::{Buffer, Data as Raw, StreamError};
use momento_functions_guest_web::{WebEnvironment, WebError, WebResponse, WebResult, invoke};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Remaining,
    Read(u32),
    Advance(u32),
    TryRead(u32),
    Drop,
}

fn text(bytes: Option<Vec<u8>>) -> Value {
    json!(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn tried(answer: Result<Option<Vec<u8>>, StreamError>) -> Value {
    match answer {
        Ok(bytes) => json!({ "ok": text(bytes) }),
        Err(StreamError::TimedOut) => json!("timed-out"),
        Err(StreamError::Failed(reason)) => json!({ "failed": reason }),
    }
}

fn done(buffer: &Buffer, step: &Step) -> Value {
    match step {
        Step::Remaining => json!(buffer.remaining()),
        Step::Read(most) => text(buffer.read(*most)),
        Step::Advance(size) => {
            buffer.advance(*size);
            Value::Null
        }
        Step::TryRead(most) => tried(buffer.try_read(*most)),
        Step::Drop => Value::Null,
    }
}

invoke!(bytes_calls);
fn bytes_calls(body: Data) -> WebResult<WebResponse> {
    let steps = WebEnvironment::load().query_parameters().get("do");
    let steps: Vec<Step> = serde_json::from_str(steps.map_or("[]", String::as_str))?;
    let Raw::Buffer(buffer) = body.into() else {
        return Err(WebError::message("the body is no buffer"));
    };
    let answers: Value = steps.iter().map(|step| done(&buffer, step)).collect();
    let response = WebResponse::new().header("x-answers", answers.to_string());
    if steps.iter().any(|step| matches!(step, Step::Drop)) {
        drop(buffer);
        return Ok(response.with_body("dropped")?);
    }
    Ok(response.with_body(Data::from(Raw::Buffer(buffer)))?)
}
