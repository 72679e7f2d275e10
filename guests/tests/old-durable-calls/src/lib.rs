//! `guesthouse:durable` beside the older generation of the crates: waits for so many milliseconds, runs a step, calls `then` with
//! its value, and answers with what that says, or fails as it is told to.
//!
//! ```json
//! {"sleep_ms": 5, "step": "a", "then": "old-post", "fail": {"terminal": "no"}}
//! ```

use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, Error, Failure, Text, call, run, sleep};
use momento_functions::post;
use momento_functions_host::encoding::Json;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Job {
    sleep_ms: u64,
    step: String,
    then: Option<String>,
    fail: Option<Fail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fail {
    Temporary(String),
    Throttled(String),
    Terminal(String),
    Coded(u16, String),
}

#[derive(Serialize)]
struct Name {
    name: String,
}

post!(old_durable_calls);
fn old_durable_calls(Json(job): Json<Job>) -> Answer<String> {
    done(job).into()
}

fn done(job: Job) -> durable::Result<String> {
    sleep(Duration::from_millis(job.sleep_ms)).wait()?;
    let name = run("step", || Ok::<_, Error>(job.step.clone()))?;
    let answer = match job.then {
        Some(function) => call::<Text>(function, &Name { name }).wait()?.0,
        None => name,
    };
    match job.fail {
        None => Ok(answer),
        Some(Fail::Temporary(why)) => Err(Error::temporary(why)),
        Some(Fail::Throttled(why)) => Err(Error::throttled(why)),
        Some(Fail::Terminal(why)) => Err(Error::terminal(why)),
        Some(Fail::Coded(code, why)) => Err(Failure::new(why).with_code(code).into()),
    }
}
