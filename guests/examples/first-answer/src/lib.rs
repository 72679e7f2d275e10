//! Asks several functions the same thing, and answers with what the first one to succeed says; the others are cancelled.
//!
//! ```json
//! {"ask": ["greet", "old-post"], "question": {"name": "Ada"}, "within_ms": 5000}
//! ```

use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, Failure, any, call, call_all};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Deserialize)]
struct Request {
    ask: Vec<String>,
    question: Value,
    within_ms: u64,
}

#[derive(Serialize)]
struct First {
    by: String,
    answer: Value,
}

invoke!(first_answer);
fn first_answer(Json(request): Json<Request>) -> Answer<Json<First>> {
    first(&request).map(Json).into()
}

fn first(request: &Request) -> durable::Result<First> {
    let within = Duration::from_millis(request.within_ms);
    let calls = request.ask.iter();
    let answers = call_all(calls.map(|name| call::<Value>(name, &request.question)))?;
    match any(answers).timeout(within).cancel_rest().wait() {
        Ok(winner) => Ok(First {
            by: request.ask[winner.index].clone(),
            answer: winner.value,
        }),
        Err(failure) if failure.is_timed_out() => Err(Failure::new("nobody answered in time")
            .with_code(504)
            .into()),
        Err(failure) => Err(failure.into()),
    }
}
