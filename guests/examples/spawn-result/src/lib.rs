//! A spawn function that can fail: on `{"fail":"out of paper"}` it does, with that note; on `{}`
//! it succeeds. Nobody waits for the outcome, but the host counts it and records the note.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_spawn::spawn;
use serde::Deserialize;

#[derive(Deserialize)]
struct Job {
    fail: Option<String>,
}

spawn!(work);
fn work(Json(job): Json<Job>) -> Result<(), String> {
    job.fail.map_or(Ok(()), Err)
}
