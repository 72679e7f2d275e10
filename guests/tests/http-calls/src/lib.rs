//! Sends HTTP requests and reads their answers, step by step, as the JSON of its body lists them,
//! and answers what each step gave:
//!
//! ```json
//! [{"send": {"verb": "GET", "url": "http://…", "headers": [["a", "b"]], "body": "…", "timeout_ms": 500}},
//!  {"remaining": 0}, {"read": [0, 16]}, {"try_read": [0, 16]}, {"advance": [0, 3]}, {"all": 0}, {"drop": 0}]
//! ```
//!
//! The number is that of the answer, counted from 0; `"body_of": 0` in a `send` passes its body on
//! unread. `"secret": [id, key, region, service]` and `"role": [arn, service]` sign a request.
//! `{"answer": 0}` ends the function with that response. Bytes are text of which each character is
//! one byte.

use std::collections::HashMap;
use std::time::Duration;

use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::Json;
use momento_functions_bytes::wit::momento::bytes::bytes::{Buffer, Data as Body, StreamError};
use momento_functions_guest_web::{WebError, WebResponse, WebResult, invoke};
use momento_functions_http::{
    self as http, Authorization, AwsSigV4Secret, HttpError, IamRole, Request,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Send(Order),
    Remaining(usize),
    Read(usize, u32),
    TryRead(usize, u32),
    Advance(usize, u32),
    All(usize),
    Drop(usize),
    Answer(usize),
}

#[derive(Deserialize)]
struct Order {
    verb: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    body_of: Option<usize>,
    timeout_ms: Option<u64>,
    secret: Option<(String, String, String, String)>,
    role: Option<(String, String)>,
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| character as u8).collect()
}

fn text(bytes: Vec<u8>) -> String {
    bytes.into_iter().map(char::from).collect()
}

fn authorization(order: &Order) -> Authorization {
    if let Some((access_key_id, secret_access_key, region, service)) = order.secret.clone() {
        return Authorization::AwsSigV4Secret(AwsSigV4Secret {
            access_key_id,
            secret_access_key,
            region,
            service,
        });
    }
    match order.role.clone() {
        Some((role_arn, service)) => Authorization::Federated(IamRole { role_arn, service }),
        None => Authorization::None,
    }
}

fn said(error: HttpError) -> Value {
    match error {
        HttpError::InternalError => json!(["internal-error"]),
        HttpError::RequestError(text) => json!(["request-error", text]),
        HttpError::InvalidUrl { url, error } => json!(["invalid-url", url, error]),
        HttpError::InvalidHeaderName { header, error } => {
            json!(["invalid-header-name", header, error])
        }
        HttpError::InvalidHeaderValue { value, error } => {
            json!(["invalid-header-value", value, error])
        }
        HttpError::Timeout(text) => json!(["timeout", text]),
        HttpError::ConnectTimeout(text) => json!(["connect-timeout", text]),
        HttpError::ConnectionFailed(text) => json!(["connection-failed", text]),
        HttpError::ConnectionInterrupted(text) => json!(["connection-interrupted", text]),
        HttpError::TlsError(text) => json!(["tls-error", text]),
        HttpError::TooManyRedirects(text) => json!(["too-many-redirects", text]),
        HttpError::MalformedResponse(text) => json!(["malformed-response", text]),
    }
}

#[derive(Default)]
struct Answers {
    bodies: HashMap<usize, Buffer>,
    heads: Vec<(u16, Vec<(String, String)>)>,
}

impl Answers {
    fn send(&mut self, order: Order) -> Value {
        let authorization = authorization(&order);
        let body: Data = match order.body_of {
            Some(number) => match self.bodies.remove(&number) {
                Some(buffer) => Body::Buffer(buffer).into(),
                None => return json!({ "missing": number }),
            },
            None => bytes(&order.body).into(),
        };
        let mut request = Request::new(order.url, order.verb)
            .with_headers(order.headers)
            .with_body(body)
            .with_authorization(authorization);
        if let Some(milliseconds) = order.timeout_ms {
            request = request.with_request_timeout(Duration::from_millis(milliseconds));
        }
        match http::invoke(request) {
            Ok(response) => {
                let number = self.heads.len();
                self.heads.push((response.status, response.headers.clone()));
                match response.body.into() {
                    Body::Buffer(buffer) => self.bodies.insert(number, buffer),
                    Body::Value(_) => None,
                };
                json!({ "status": response.status, "headers": response.headers })
            }
            Err(error) => json!({ "error": said(error) }),
        }
    }

    fn with(&mut self, number: usize, work: impl FnOnce(&Buffer) -> Value) -> Value {
        match self.bodies.get(&number) {
            Some(buffer) => work(buffer),
            None => json!({ "missing": number }),
        }
    }

    fn step(&mut self, step: Step) -> Value {
        match step {
            Step::Send(order) => self.send(order),
            Step::Remaining(number) => self.with(number, |buffer| json!(buffer.remaining())),
            Step::Read(number, size) => {
                self.with(number, |buffer| json!(buffer.read(size).map(text)))
            }
            Step::TryRead(number, size) => {
                self.with(number, |buffer| match buffer.try_read(size) {
                    Ok(found) => json!({ "ok": found.map(text) }),
                    Err(StreamError::TimedOut) => json!({ "err": "timed-out" }),
                    Err(StreamError::Failed(why)) => json!({ "err": "failed", "why": why }),
                })
            }
            Step::Advance(number, size) => self.with(number, |buffer| {
                buffer.advance(size);
                Value::Null
            }),
            Step::All(number) => match self.bodies.remove(&number) {
                Some(buffer) => json!(text(Data::from(Body::Buffer(buffer)).into_bytes())),
                None => json!({ "missing": number }),
            },
            Step::Drop(number) => json!(self.bodies.remove(&number).is_some()),
            Step::Answer(_) => Value::Null,
        }
    }
}

invoke!(http_calls);
fn http_calls(Json(steps): Json<Vec<Step>>) -> WebResult<WebResponse> {
    let mut answers = Answers::default();
    let mut results = Vec::new();
    for step in steps {
        if let Step::Answer(number) = step {
            let (status, headers) = answers.heads.swap_remove(number);
            let body = answers.bodies.remove(&number);
            let body = body.ok_or_else(|| WebError::message("that body is gone"))?;
            return Ok(WebResponse::new()
                .with_status(status)
                .with_headers(headers)
                .with_body(Data::from(Body::Buffer(body)))?);
        }
        results.push(answers.step(step));
    }
    Ok(WebResponse::new().with_body(Json(results))?)
}
