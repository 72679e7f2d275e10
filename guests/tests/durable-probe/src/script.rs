//! What a script can say.

use std::time::Duration;

use guesthouse_guest::durable::{Error, Failure};
use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Call(Call),
    Calls(Vec<Call>),
    Send(Call),
    Sleep(u64),
    SleepUntil(u64),
    Awakeable,
    Wait(Wait),
    Gather(Gather),
    Select(Select),
    Race(Race),
    Any(Race),
    Within(Wait),
    CallWithin(u64, Call),
    Resolve(Completion),
    Reject(Completion),
    Cancel(String),
    Kill(String),
    Id(usize),
    Run(Run),
    Get(String),
    Set(String, Value),
    Clear(String),
    ClearAll,
    Names,
    Clock,
    Random,
    Env(String),
    Current,
    MyId,
    Http(Http),
    Spawn(String, Value),
    Publish(String, String),
    #[cfg(feature = "cache")]
    CacheSet(String, String),
    #[cfg(feature = "cache")]
    CacheGet(String),
    #[cfg(feature = "cache")]
    CacheDelete(String),
    Print(String),
    Detached(String, Vec<Op>),
    Request(String),
    Block(Vec<Op>),
    Repeat(usize, Vec<Op>),
    IfFailed(Vec<Op>, Vec<Op>),
    IfAttempt(u32, Vec<Op>),
    Value(Value),
    Answer(Reply),
    Fail(Fail),
    Trap,
    Spin,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub function: String,
    #[serde(default)]
    pub payload: Value,
    pub key: Option<String>,
    #[serde(default)]
    pub delay_ms: u64,
    pub idempotency_key: Option<String>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default = "once")]
    pub times: usize,
}

fn once() -> usize {
    1
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    pub of: usize,
    pub timeout_ms: Option<u64>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gather {
    pub of: Option<Vec<usize>>,
    #[serde(default)]
    pub then: Then,
    pub timeout_ms: Option<u64>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    #[default]
    CancelRest,
    LeaveRest,
    WaitForAll,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Select {
    pub of: Vec<usize>,
    pub first: First,
    pub timeout_ms: Option<u64>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Race {
    pub of: Vec<usize>,
    pub timeout_ms: Option<u64>,
    #[serde(default)]
    pub cancel: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum First {
    ToEnd,
    ToSucceed,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    pub id: String,
    #[serde(default)]
    pub payload: Value,
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub name: String,
    #[serde(default)]
    pub attempts: u32,
    pub min_wait_ms: Option<u64>,
    pub max_wait_ms: Option<u64>,
    #[serde(default)]
    pub ends: Vec<StepEnd>,
    #[serde(default, rename = "do")]
    pub operations: Vec<Op>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    Ok,
    Temporary(String),
    Throttled(u64),
    Terminal(String),
    Trap,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub url: String,
    #[serde(default = "get")]
    pub verb: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: String,
}

fn get() -> String {
    "GET".into()
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: Value,
}

fn ok() -> u16 {
    200
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    Temporary(String),
    Throttled(u64),
    Terminal(String),
    Failure(TerminalFailure),
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalFailure {
    message: String,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    metadata: Vec<(String, String)>,
}

impl From<Fail> for Error {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Temporary(why) => Self::temporary(why),
            Fail::Throttled(milliseconds) => {
                Self::throttled("too much").retry_after(Duration::from_millis(milliseconds))
            }
            Fail::Terminal(why) => Self::terminal(why),
            Fail::Failure(failure) => Failure {
                metadata: failure.metadata,
                ..Failure::new(failure.message).with_code(failure.code)
            }
            .into(),
        }
    }
}
