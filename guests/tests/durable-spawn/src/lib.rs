//! A spawn function that waits: `{"sleep_ms": 60000}` sleeps, `{"call": ["name", payload]}` calls a function and waits for it,
//! `{"fail": "why"}` fails for now and `{"give_up": "why"}` for good. `{"until": 3, …}` does that before its third run only.

use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, Error, call, current, sleep};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_spawn::spawn;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Job {
    sleep_ms: Option<u64>,
    call: Option<(String, Value)>,
    fail: Option<String>,
    give_up: Option<String>,
    #[serde(default = "never")]
    until: u32,
}

fn never() -> u32 {
    u32::MAX
}

spawn!(work);
fn work(Json(job): Json<Job>) -> Answer<()> {
    if current().attempt >= job.until {
        return Ok::<_, Error>(()).into();
    }
    done(job).into()
}

fn done(job: Job) -> durable::Result<()> {
    if let Some(milliseconds) = job.sleep_ms {
        sleep(Duration::from_millis(milliseconds)).wait()?;
    }
    if let Some((name, payload)) = job.call {
        call::<durable::Bytes>(name, &payload).wait()?;
    }
    job.fail.map_or(Ok(()), |why| Err(Error::temporary(why)))?;
    job.give_up.map_or(Ok(()), |why| Err(Error::terminal(why)))
}
