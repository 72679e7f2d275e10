//! `returns` on the older generation of the crates: every kind of value that `post!` knows.

use std::collections::BTreeMap;

use momento_functions::{IntoWebResponse, WebError, WebResponse, WebResult, post_template};
use momento_functions_host::encoding::{Extract, Json};
use momento_functions_host::http;
use momento_functions_host::web_extensions::FunctionEnvironment;
use momento_functions_wit::function_web::exports::momento::functions::guest_function_web as entry;
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

fn parsed(text: &str) -> WebResult<String> {
    let named: Named = serde_json::from_str(text)?;
    Ok(named.name)
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

fn upstream() -> http::Response {
    http::Response {
        status: 203,
        headers: vec![
            ("X-Up".into(), "1".into()),
            ("content-length".into(), "99".into()),
        ],
        body: vec![0, 255],
    }
}

fn returned(kind: &str, body: Vec<u8>) -> entry::Response {
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
        "missing-field" => parsed("{\n}").response(),
        "message" => WebResult::<()>::Err(WebError::message("in my own words")).response(),
        "upstream" => upstream().response(),
        "panic" => panic!("asked to"),
        _ => taken(kind, body),
    }
}

fn taken(kind: &str, body: Vec<u8>) -> entry::Response {
    fn through<T: Extract>(body: Vec<u8>, handler: fn(T) -> String) -> entry::Response {
        post_template(body, handler)
    }
    match kind {
        "take-vec" => through(body, |bytes: Vec<u8>| format!("{} bytes", bytes.len())),
        "take-json" => through(body, |Json(named): Json<Named>| named.name),
        _ => WebResponse::new().with_status(404).response(),
    }
}

struct Returns;
momento_functions_wit::__export_web_function_impl!(Returns);

impl entry::Guest for Returns {
    fn post(payload: Vec<u8>) -> entry::Response {
        let request = FunctionEnvironment::get_function_environment();
        returned(request.http_path(), payload)
    }
}
