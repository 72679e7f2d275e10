//! Does what the list in its body says, and answers with what each operation came to. The operations are in the README.

mod does;
mod script;
mod waits;

use guesthouse_guest::durable::{Answer, Bytes, Error, Failure, Promise};
use momento_functions_guest_web::{WebResponse, invoke};
use serde_json::{Value, json};

use script::{Fail, Op, Reply};

/// How a script ends before its last operation.
enum End {
    Answer(Reply),
    Fail(Fail),
}

/// What a script has come to.
#[derive(Default)]
struct Probe {
    promises: Vec<Option<Promise<Bytes>>>,
    sent: String,
    last: Value,
}

impl Probe {
    /// Does operations; a list of what they came to.
    fn all(&mut self, operations: Vec<Op>) -> Result<Value, End> {
        let mut trace = Vec::with_capacity(operations.len());
        for operation in operations {
            self.last = self.one(operation)?;
            trace.push(self.last.clone());
        }
        Ok(trace.into())
    }

    fn one(&mut self, operation: Op) -> Result<Value, End> {
        match operation {
            Op::Block(operations) => self.all(operations),
            Op::Repeat(times, operations) => {
                let rounds = (0..times).map(|_| self.all(operations.clone()));
                rounds.collect::<Result<Vec<_>, _>>().map(Value::from)
            }
            Op::IfFailed(then, otherwise) => match is_failure(&self.last) {
                true => self.all(then),
                false => self.all(otherwise),
            },
            Op::IfAttempt(number, operations) => {
                match guesthouse_guest::durable::current().attempt == number {
                    true => self.all(operations),
                    false => Ok(Value::Null),
                }
            }
            Op::Answer(reply) => Err(End::Answer(reply)),
            Op::Fail(fail) => Err(End::Fail(fail)),
            Op::Run(run) => Ok(self.run(run)),
            operation => Ok(self.wait_or_do(operation)),
        }
    }
}

fn is_failure(value: &Value) -> bool {
    value.get("failed").or(value.get("error")).is_some()
}

/// What an operation that may fail came to.
fn told(result: Result<Value, Failure>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(failure) => json!({ "failed": {
            "kind": match () {
                _ if failure.is_cancelled() => "cancelled",
                _ if failure.is_timed_out() => "timed-out",
                _ => "failed",
            },
            "message": failure.message,
            "code": failure.code,
            "metadata": failure.metadata,
        } }),
    }
}

/// JSON if it is that, otherwise text.
fn readable(payload: Vec<u8>) -> Value {
    match payload.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&payload)
            .unwrap_or_else(|_| String::from_utf8_lossy(&payload).into()),
    }
}

fn answer(status: u16, headers: Vec<(String, String)>, body: Value) -> WebResponse {
    let body = match body {
        Value::String(text) => text,
        body => body.to_string(),
    };
    WebResponse::new()
        .with_status(status)
        .with_headers(headers)
        .with_body(body)
        .unwrap_or_default()
}

invoke!(durable_probe);
fn durable_probe(body: Vec<u8>) -> Answer<WebResponse> {
    let script = std::env::var("SCRIPT").map_or(body, String::into_bytes);
    let operations: Vec<Op> = match serde_json::from_slice(&script) {
        Ok(operations) => operations,
        Err(error) => return Ok::<_, Error>(answer(400, vec![], error.to_string().into())).into(),
    };
    match Probe::default().all(operations) {
        Ok(trace) => {
            let json = vec![("content-type".into(), "application/json".into())];
            Ok::<_, Error>(answer(200, json, trace)).into()
        }
        Err(End::Answer(reply)) => {
            Ok::<_, Error>(answer(reply.status, reply.headers, reply.body)).into()
        }
        Err(End::Fail(fail)) => Err(Error::from(fail)).into(),
    }
}
