//! Sends a text to a URL again and again: every month of a year, if that is what it is asked for.
//!
//! ```json
//! {"text": "water the plants", "to": "https://push.example.com/send", "every_s": 2592000, "times": 12}
//! ```
//!
//! An ordinary loop. Between two rounds it is a row in a file, on which the host may be stopped, moved and upgraded. It is
//! called as work that nobody waits for (`/async-function/reminder`), and ended with `guesthouse invocations cancel ID`.

use std::time::Duration;

use guesthouse_guest::durable::{self, Answer, Error, run, sleep};
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
use momento_functions_http::{self as http, Request};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Reminder {
    text: String,
    to: String,
    every_s: u64,
    times: u32,
}

#[derive(Serialize)]
struct Done {
    sent: u32,
}

invoke!(reminder);
fn reminder(Json(reminder): Json<Reminder>) -> Answer<Json<Done>> {
    remind(&reminder).map(Json).into()
}

fn remind(reminder: &Reminder) -> durable::Result<Done> {
    for _ in 0..reminder.times {
        sleep(Duration::from_secs(reminder.every_s)).wait()?;
        run("send", || send(reminder))?;
    }
    Ok(Done {
        sent: reminder.times,
    })
}

fn send(reminder: &Reminder) -> durable::Result<()> {
    let request = Request::new(&reminder.to, "POST").with_body(reminder.text.as_str());
    match http::invoke(request)?.status {
        200..300 => Ok(()),
        status => Err(Error::temporary(format!(
            "{} answered {status}",
            reminder.to
        ))),
    }
}
