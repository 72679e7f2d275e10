//! Returns every kind of value that `invoke!` knows, and takes every kind: `/returns/KIND`.

use std::collections::BTreeMap;

use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::{Extract, Json};
use momento_functions_guest_web::wit::exports::momento::web_function::guest_function_web as entry;
use momento_functions_guest_web::{
    IntoWebResponse, WebEnvironment, WebError, WebResponse, WebResult, invoke_template,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize, Serialize)]
struct Named {
    name: String,
}

/// A map that JSON cannot express: its keys are no strings.
fn unspeakable() -> Json<BTreeMap<(u8, u8), u8>> {
    Json(BTreeMap::from([((1, 2), 3)]))
}

fn question_mark(text: &str) -> WebResult<String> {
    let number: u32 = text.parse()?;
    Ok(number.to_string())
}

fn built() -> Result<WebResponse, serde_json::Error> {
    WebResponse::new()
        .with_status(418)
        .with_headers(vec![("X-Old".into(), "gone".into())])
        .with_headers(vec![
            ("X-One".into(), "1".into()),
            ("x-one".into(), "2".into()),
        ])
        .header("x-two", "3")
        .with_body(json!({ "a": 1 }))
}

fn returned(kind: &str, body: Data) -> entry::Response {
    match kind {
        "unit" => ().response(),
        "str" => "text é".response(),
        "string" => String::from("text").response(),
        "some-string" => Some(String::from("text")).response(),
        "no-string" => None::<String>.response(),
        "vec" => vec![0u8, 255].response(),
        "slice" => [1u8, 2].as_slice().response(),
        "some-vec" => Some(vec![0u8, 255]).response(),
        "no-vec" => None::<Vec<u8>>.response(),
        "data" => body.response(),
        "json" => Json(Named { name: "é".into() }).response(),
        "value" => json!({ "a": [1, null] }).response(),
        "unspeakable" => unspeakable().response(),
        "default" => WebResponse::default().response(),
        "built" => built().expect("JSON").response(),
        "built-json" => WebResponse::new()
            .with_body(json!([1]))
            .expect("JSON")
            .response(),
        "ok" => question_mark("7").response(),
        "question-mark" => question_mark("seven").response(),
        "message" => WebResult::<()>::Err(WebError::message("in my own words")).response(),
        "panic" => panic!("asked to"),
        _ => taken(kind, body),
    }
}

fn taken(kind: &str, body: Data) -> entry::Response {
    fn through<T: Extract>(body: Data, handler: fn(T) -> String) -> entry::Response {
        invoke_template(body.into(), handler)
    }
    match kind {
        "take-data" => through(body, |data: Data| {
            format!("{} bytes", data.into_bytes().len())
        }),
        "take-vec" => through(body, |bytes: Vec<u8>| format!("{} bytes", bytes.len())),
        "take-string" => through(body, |text: String| text),
        "take-json" => through(body, |Json(named): Json<Named>| named.name),
        _ => WebResponse::new().with_status(404).response(),
    }
}

struct Returns;
momento_functions_guest_web::wit::export_web_function!(Returns);

impl entry::Guest for Returns {
    fn invoke(request: entry::Data) -> entry::Response {
        returned(WebEnvironment::load().http_path(), request.into())
    }
}
