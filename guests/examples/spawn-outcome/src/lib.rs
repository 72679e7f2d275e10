//! A spawn function that reports every outcome there is, as its payload says: `"ok"`, `"failed"`,
//! `{"ok-note":"12 rows"}`, `{"failed-note":"disk full"}` or `{"host-error":"no such bucket"}`.

use momento_functions_bytes::encoding::Json;
use momento_functions_guest_spawn::{SpawnFailure, SpawnSuccess, spawn};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Ok,
    OkNote(String),
    Failed,
    FailedNote(String),
    HostError(String),
}

spawn!(report);
fn report(Json(outcome): Json<Outcome>) -> Result<SpawnSuccess, SpawnFailure> {
    match outcome {
        Outcome::Ok => Ok(SpawnSuccess::Ok),
        Outcome::OkNote(note) => Ok(SpawnSuccess::OkNote(note)),
        Outcome::Failed => Err(SpawnFailure::Failed),
        Outcome::FailedNote(note) => Err(SpawnFailure::FailedNote(note)),
        Outcome::HostError(note) => Err(SpawnFailure::HostError(note)),
    }
}
