//! The example `cache-conditions` on the older generation of the crates: the same body, the same answers.

use std::error::Error;
use std::time::Duration;

use momento_functions::post;
use momento_functions_host::cache::{
    self, SetIfCondition, SetIfHashCondition, SetIfHashResult, SetIfResult,
};
use momento_functions_host::encoding::Json;
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
        match condition {
            HashCondition::PresentAndNotHashEqual(hash) => Self::PresentAndNotHashEqual(hash),
            HashCondition::PresentAndHashEqual(hash) => Self::PresentAndHashEqual(hash),
            HashCondition::AbsentOrHashEqual(hash) => Self::AbsentOrHashEqual(hash),
            HashCondition::AbsentOrNotHashEqual(hash) => Self::AbsentOrNotHashEqual(hash),
            HashCondition::Unconditional => Self::Unconditional,
        }
    }
}

fn text(value: Vec<u8>) -> Result<String, Box<dyn Error>> {
    Ok(String::from_utf8(value)?)
}

fn perform(request: Request) -> Result<Value, Box<dyn Error>> {
    let Request { key, value, .. } = request;
    let ttl = Duration::from_millis(request.ttl_ms);
    Ok(match request.operation {
        Operation::Get => json!({ "value": cache::get::<Vec<u8>>(key)?.map(text).transpose()? }),
        Operation::GetWithHash => match cache::get_with_hash::<Vec<u8>>(key)? {
            Some(found) => json!({ "value": text(found.value)?, "hash": found.hash }),
            None => json!({ "value": null }),
        },
        Operation::Set => {
            cache::set(key, value, ttl)?;
            json!({ "stored": true })
        }
        Operation::SetIf(condition) => match cache::set_if(key, value, ttl, condition.into())? {
            SetIfResult::Stored => json!({ "stored": true }),
            SetIfResult::NotStored => json!({ "stored": false }),
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

post!(cache_scalars);
fn cache_scalars(Json(request): Json<Request>) -> Json<Value> {
    Json(perform(request).unwrap_or_else(|error| json!({ "error": format!("{error:?}") })))
}
