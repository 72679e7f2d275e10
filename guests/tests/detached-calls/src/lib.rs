//! Does what `?do=` lists, in that order, and answers:
//! `[{"queue":["a",[{"say":"in a"},{"fail":"no"}]]},{"status":500}]` queues one task and answers 500.
//!
//! Tasks list what they do in the same words. `{"say":"text"}` publishes to the topic `detached`, `{"print":"text"}` prints,
//! `{"get":"http://…"}` sends a request and waits for its answer, `{"spawn":"name"}` starts a function,
//! `{"sse":"text"}` and `{"raw":"text"}` stream the answer, `{"flood":1000}` queues so many tasks that do nothing and says
//! how many were accepted, `"body"` says how the request's body begins, `"relay"` has it as the answer, unread, and `{"pass":"http://…"}`
//! the body of another server's. `{"sleep":1000}` takes milliseconds, `"spin"` for ever, `"trap"` traps.

use std::cell::RefCell;
use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

use guesthouse_guest::detached;
use momento_functions_bytes::Data;
use momento_functions_guest_web::wit::momento::web_function::web_function_stream::{
    send_data, send_response_start, send_sse,
};
use momento_functions_guest_web::{WebEnvironment, WebResponse, invoke};
use momento_functions_http::{self as http, Request};
use momento_functions_spawn::spawn;
use momento_functions_topic::publish;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    Queue(String, Vec<Step>),
    Flood(usize),
    Say(String),
    Print(String),
    Get(String),
    Spawn(String),
    Sse(String),
    Raw(String),
    Status(u16),
    Fail(String),
    Pass(String),
    Body,
    Relay,
    Sleep(u64),
    Spin,
    Trap,
}

#[derive(Default)]
struct Answer {
    status: Option<u16>,
    body: Option<Data>,
}

thread_local! {
    static BODY: RefCell<Option<Data>> = const { RefCell::new(None) };
}

fn shown<E: std::fmt::Debug>(error: E) -> String {
    format!("{error:?}")
}

fn body() -> Data {
    BODY.take().unwrap_or_else(|| "".into())
}

fn say(text: String) -> Result<(), String> {
    publish("detached", text).map_err(shown)
}

fn spin() -> ! {
    let mut count = 0u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

fn queue(name: &str, steps: Vec<Step>) -> Result<(), String> {
    match detached(name, move || run(steps, &mut Answer::default())) {
        true => Ok(()),
        false => say(format!("refused {name}")),
    }
}

fn run(steps: Vec<Step>, answer: &mut Answer) -> Result<(), String> {
    steps.into_iter().try_for_each(|step| one(step, answer))
}

fn one(step: Step, answer: &mut Answer) -> Result<(), String> {
    match step {
        Step::Queue(name, steps) => queue(&name, steps),
        Step::Flood(count) => {
            let accepted = (0..count).filter(|number| detached(&format!("t{number}"), || ()));
            say(accepted.count().to_string())
        }
        Step::Say(text) => say(text),
        Step::Print(text) => {
            println!("{text}");
            Ok(())
        }
        Step::Get(url) => http::invoke(Request::new(url, "GET"))
            .map(drop)
            .map_err(shown),
        Step::Spawn(name) => spawn(name, "{}").map_err(shown),
        Step::Sse(text) => send_sse(None, None, Some(Data::from(text).into())),
        Step::Raw(text) => {
            send_response_start(200, &[])?;
            send_data(Data::from(text).into())
        }
        Step::Status(status) => {
            answer.status = Some(status);
            Ok(())
        }
        Step::Fail(text) => Err(text),
        Step::Pass(url) => {
            let response = http::invoke(Request::new(url, "GET")).map_err(shown)?;
            answer.body = Some(response.body);
            Ok(())
        }
        Step::Body => {
            let text = String::from_utf8_lossy(&body().into_bytes()).into_owned();
            say(text.chars().take(100).collect())
        }
        Step::Relay => {
            answer.body = Some(body());
            Ok(())
        }
        Step::Sleep(milliseconds) => {
            sleep(Duration::from_millis(milliseconds));
            Ok(())
        }
        Step::Spin => spin(),
        Step::Trap => panic!("asked to"),
    }
}

invoke!(detached_calls);
fn detached_calls(request: Data) -> WebResponse {
    BODY.set(Some(request));
    let steps = WebEnvironment::load().query_parameters().get("do");
    let steps: Vec<Step> = serde_json::from_str(steps.map_or("[]", String::as_str))
        .unwrap_or_else(|error| vec![Step::Fail(error.to_string())]);
    let mut answer = Answer::default();
    let text = run(steps, &mut answer).map_or_else(|error| error, |()| "answered".into());
    WebResponse::new()
        .with_status(answer.status.unwrap_or(200))
        .with_body(answer.body.unwrap_or_else(|| text.into()))
        .unwrap_or_default()
}
