//! A spawn function with detached work: it fails with the note `no`, and after that sends a GET to the URL that is its
//! payload, if it has one, and publishes `done` to the topic `detached`.

use guesthouse_guest::detached;
use momento_functions_guest_spawn::spawn;
use momento_functions_http::{self as http, Request};
use momento_functions_topic::publish;

spawn!(work);
fn work(url: String) -> Result<(), String> {
    detached("after", move || -> Result<(), String> {
        if !url.is_empty() {
            http::invoke(Request::new(url, "GET")).map_err(|error| error.to_string())?;
        }
        publish("detached", "done").map_err(|error| error.to_string())
    });
    Err("no".into())
}
