//! Does any cache operation its JSON body describes, with every condition there is:
//!
//! ```json
//! {"operation": "get", "key": "color"}
//! {"operation": {"set-if": {"equal": "blue"}}, "key": "color", "value": "red", "ttl_ms": 60000}
//! ```
//!
//! An optimistic update is `get-with-hash`, then `set-if-hash` on `present-and-hash-equal` with
//! the hash that was found: if somebody else was faster, it is not stored.

use std::error::Error;
use std::time::Duration;

use momento_functions_bytes::encoding::Json;
use momento_functions_cache::{
    self as cache, ConditionalSetResult, SetIfCondition, SetIfHashCondition, SetIfHashResult,
};
use momento_functions_guest_web::invoke;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    operation: Operation,
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    ttl_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Operation {
    Get,
    GetWithHash,
    Set,
    SetIf(Condition),
    SetIfHash(HashCondition),
    Delete,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Condition {
    Present,
    PresentAndNotEqual(String),
    Absent,
    Equal(String),
    AbsentOrEqual(String),
    NotEqual(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum HashCondition {
    PresentAndNotHashEqual(Vec<u8>),
    PresentAndHashEqual(Vec<u8>),
    AbsentOrHashEqual(Vec<u8>),
    AbsentOrNotHashEqual(Vec<u8>),
    Unconditional,
}

impl From<Condition> for SetIfCondition {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Present => Self::Present,
            Condition::PresentAndNotEqual(value) => Self::PresentAndNotEqual(value.into()),
            Condition::Absent => Self::Absent,
            Condition::Equal(value) => Self::Equal(value.into()),
            Condition::AbsentOrEqual(value) => Self::AbsentOrEqual(value.into()),
            Condition::NotEqual(value) => Self::NotEqual(value.into()),
        }
    }
}

impl From<HashCondition> for SetIfHashCondition {
    fn from(condition: HashCondition) -> Self {
        use HashCondition::*;
        match condition {
            PresentAndNotHashEqual(hash) => Self::PresentAndNotHashEqual(hash.into()),
            PresentAndHashEqual(hash) => Self::PresentAndHashEqual(hash.into()),
            AbsentOrHashEqual(hash) => Self::AbsentOrHashEqual(hash.into()),
            AbsentOrNotHashEqual(hash) => Self::AbsentOrNotHashEqual(hash.into()),
            Unconditional => Self::Unconditional,
        }
    }
}

fn perform(request: Request) -> Result<Value, Box<dyn Error>> {
    let Request { key, value, .. } = request;
    let ttl = Duration::from_millis(request.ttl_ms);
    Ok(match request.operation {
        Operation::Get => json!({ "value": cache::get::<String>(key)? }),
        Operation::GetWithHash => match cache::get_with_hash::<String>(key)? {
            Some(found) => json!({ "value": found.value, "hash": found.hash }),
            None => json!({ "value": null }),
        },
        Operation::Set => {
            cache::set(key, value, ttl)?;
            json!({ "stored": true })
        }
        Operation::SetIf(condition) => match cache::set_if(key, value, ttl, condition.into())? {
            ConditionalSetResult::Stored(()) => json!({ "stored": true }),
            ConditionalSetResult::NotStored => json!({ "stored": false }),
        },
        Operation::SetIfHash(condition) => {
            match cache::set_if_hash(key, value, ttl, condition.into())? {
                SetIfHashResult::Stored(hash) => json!({ "stored": true, "hash": hash }),
                SetIfHashResult::NotStored => json!({ "stored": false }),
            }
        }
        Operation::Delete => {
            cache::delete(key)?;
            json!({ "deleted": true })
        }
    })
}

invoke!(cache_conditions);
fn cache_conditions(Json(request): Json<Request>) -> Value {
    perform(request).unwrap_or_else(|error| json!({ "error": format!("{error:?}") }))
}
