//! Sends one HTTP request through `momento:http@1.0.0`, which the crates of 2025 used and those of
//! today no longer do: `{"verb": "GET", "url": "http://…", "headers": [["a", "b"]], "body": "…"}`.
//!
//! It answers `{"status": 200, "headers": […], "body": "…"}` or `{"error": ["request-error", "…"]}`.
//! Bytes are text of which each character is one byte. `"secret"` and `"role"` are as in `http-calls`.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../abi/momento/bytes.wit", "../../../abi/momento/http-1.0.wit"],
        world: "momento:http/imports",
        with: { "momento:bytes/bytes@1.0.0": momento_functions_bytes::wit::momento::bytes::bytes },
    });
}

use bindings::momento::http::http::{
    Authorization, AwsSigv4Secret, Error, IamRole, Request, invoke as send,
};
use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    verb: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    secret: Option<(String, String, String, String)>,
    role: Option<(String, String)>,
}

fn authorization(
    secret: Option<(String, String, String, String)>,
    role: Option<(String, String)>,
) -> Authorization {
    match (secret, role) {
        (Some((access_key_id, secret_access_key, region, service)), _) => {
            Authorization::AwsSigv4Secret(AwsSigv4Secret {
                access_key_id,
                secret_access_key,
                region,
                service,
            })
        }
        (None, Some((role_arn, service))) => {
            Authorization::Federated(IamRole { role_arn, service })
        }
        (None, None) => Authorization::None,
    }
}

fn said(error: Error) -> Value {
    match error {
        Error::InternalError => json!(["internal-error"]),
        Error::RequestError(text) => json!(["request-error", text]),
        Error::InvalidUrl(wrong) => json!(["invalid-url", wrong.url, wrong.error]),
        Error::InvalidHeaderName(wrong) => {
            json!(["invalid-header-name", wrong.header, wrong.error])
        }
        Error::InvalidHeaderValue(wrong) => {
            json!(["invalid-header-value", wrong.value, wrong.error])
        }
    }
}

invoke!(http_1_0);
fn http_1_0(Json(order): Json<Order>) -> Value {
    let body: Vec<u8> = order
        .body
        .chars()
        .map(|character| character as u8)
        .collect();
    let answer = send(Request {
        url: order.url,
        verb: order.verb,
        headers: order.headers,
        body: Data::from(body).into(),
        authorization: authorization(order.secret, order.role),
    });
    match answer {
        Ok(response) => {
            let body = Data::from(response.body).into_bytes();
            let body: String = body.into_iter().map(char::from).collect();
            json!({ "status": response.status, "headers": response.headers, "body": body })
        }
        Err(error) => json!({ "error": said(error) }),
    }
}
