//! Asks a person, and waits for the answer: for a week, if need be, during which it costs nothing.
//!
//! ```json
//! {"what": "a new engine", "tell": "https://chat.example.com/hooks/1"}
//! ```
//!
//! What it takes to answer is sent to the URL `tell`, or written to its log if there is none:
//! `POST /restate/awakeables/ID/resolve` with `{"by": "Ada"}`, or `…/reject` with a reason as text.

use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, Error, awakeable, run};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use momento_functions_http::{self as http, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[derive(Deserialize)]
struct Question {
    what: String,
    tell: Option<String>,
}

#[derive(Deserialize)]
struct Approval {
    by: String,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Approved { by: String },
    Rejected { reason: String },
}

invoke!(approval);
fn approval(Json(question): Json<Question>) -> Answer<Json<Decision>> {
    decide(&question).map(Json).into()
}

fn decide(question: &Question) -> durable::Result<Decision> {
    let approval = awakeable::<Approval>();
    // A step: whoever is asked is asked once, however often this function is begun anew.
    run("ask", || ask(question, &approval.id))?;
    match approval.promise.wait_timeout(WEEK) {
        Ok(Approval { by }) => Ok(Decision::Approved { by }),
        Err(failure) if failure.is_cancelled() => Err(failure.into()),
        Err(failure) if failure.is_timed_out() => Ok(rejected("nobody answered within a week")),
        Err(failure) => Ok(rejected(&failure.message)),
    }
}

fn rejected(reason: &str) -> Decision {
    Decision::Rejected {
        reason: reason.into(),
    }
}

fn ask(question: &Question, id: &str) -> durable::Result<()> {
    let Some(tell) = &question.tell else {
        println!("{}? Answer to /restate/awakeables/{id}", question.what);
        return Ok(());
    };
    let text = json!({ "what": question.what, "awakeable": id });
    let response = http::invoke(Request::new(tell, "POST").json(Json(text))?)?;
    match response.status {
        200..300 => Ok(()),
        status => Err(Error::temporary(format!("{tell} answered {status}"))),
    }
}
