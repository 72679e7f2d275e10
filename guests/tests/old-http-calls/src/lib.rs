//! Sends one HTTP request through the older generation of the crates, which have a function for each
//! of four methods: `{"do": "put", "url": "http://…", "headers": [["a", "b"]], "body": "…"}`.
//!
//! It answers `{"status": 200, "headers": […], "body": "…"}` or `{"error": "…"}`. Bytes are text of which
//! each character is one byte. `"secret": [id, key, region, service]` and `"role": [arn, service]`
//! sign the request.

use momento_functions::post;
use momento_functions_host::aws::auth::Credentials;
use momento_functions_host::encoding::Json;
use momento_functions_host::http::{self, Response};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    r#do: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    secret: Option<(String, String, String, String)>,
    role: Option<(String, String)>,
}

type Sent = Result<Response, String>;

fn said<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn plain(order: Order, body: Vec<u8>) -> Sent {
    let Order { url, headers, .. } = order;
    match order.r#do.as_str() {
        "get" => http::get(url, headers).map_err(said),
        "put" => http::put(url, headers, body).map_err(said),
        "post" => http::post(url, headers, body).map_err(said),
        "delete" => http::delete(url, headers).map_err(said),
        other => Err(format!("cannot {other}")),
    }
}

fn signed(order: Order, body: Vec<u8>, keys: Credentials, region: String, service: String) -> Sent {
    let Order { url, headers, .. } = order;
    match order.r#do.as_str() {
        "get" => http::get_aws_sigv4(url, headers, keys, region, service).map_err(said),
        "put" => http::put_aws_sigv4(url, headers, keys, region, service, body).map_err(said),
        "post" => http::post_aws_sigv4(url, headers, keys, region, service, body).map_err(said),
        "delete" => http::delete_aws_sigv4(url, headers, keys, region, service).map_err(said),
        other => Err(format!("cannot {other}")),
    }
}

post!(old_http_calls);
fn old_http_calls(Json(mut order): Json<Order>) -> Value {
    let body = order
        .body
        .chars()
        .map(|character| character as u8)
        .collect();
    let sent = match (order.secret.take(), order.role.take()) {
        (Some((access_key_id, secret_access_key, region, service)), _) => {
            let keys = Credentials::Hardcoded {
                access_key_id,
                secret_access_key,
            };
            signed(order, body, keys, region, service)
        }
        (None, Some((role_arn, service))) => signed(
            order,
            body,
            Credentials::Federated { role_arn },
            String::new(),
            service,
        ),
        (None, None) => plain(order, body),
    };
    match sent {
        Ok(Response {
            status,
            headers,
            body,
        }) => {
            let body: String = body.into_iter().map(char::from).collect();
            json!({ "status": status, "headers": headers, "body": body })
        }
        Err(text) => json!({ "error": text }),
    }
}
