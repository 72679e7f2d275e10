//! Valkey on the older generation of the crates: the body and the answers of `valkey-calls`, and
//!
//! ```json
//! {"url": "redis://localhost:6379", "commands": [["SET", "color", "blue"], ["GET", "color"]]}
//! ```
//!
//! which sends all commands in one pipe. `simple` goes through the typed functions of the crate instead, with
//! commands `["set", key, value]`, `["get", key]` and `["delete", key]`.

use momento_functions::post;
use momento_functions_host::encoding::Json;
use momento_functions_host::redis::{Command, RedisClient, RedisClusterClient, RedisValue};
use momento_functions_wit::host::momento::host::redis;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    cluster: Option<String>,
    url: Option<String>,
    commands: Vec<Vec<Argument>>,
    take: Option<usize>,
    #[serde(default)]
    simple: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Argument {
    Text(String),
    Bytes(Vec<u8>),
}

impl Argument {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

fn command(parts: Vec<Argument>) -> Command {
    let mut parts = parts.into_iter().map(Argument::into_bytes);
    let name = String::from_utf8(parts.next().unwrap_or_default()).expect("a name is text");
    parts
        .fold(Command::builder().any(name), |command, part| {
            command.arg(part)
        })
        .build()
}

fn told(reply: RedisValue, take: usize) -> Value {
    match reply {
        RedisValue::Nil => Value::Null,
        RedisValue::Int(number) => json!(number),
        RedisValue::Data(data) => match String::from_utf8(data) {
            Ok(text) => json!({ "data": text }),
            Err(error) => json!({ "bytes": error.into_bytes() }),
        },
        RedisValue::Bulk(bulk) => bulk.take(take).map(|reply| told(reply, take)).collect(),
        RedisValue::Okay => json!("okay"),
        RedisValue::SimpleString(text) => json!({ "simple-string": text }),
        RedisValue::SimpleError(text) => json!({ "simple-error": text }),
    }
}

fn failed(redis::RedisError::Other(text): redis::RedisError) -> Value {
    json!({ "other": text })
}

fn to_cluster(cluster: String, commands: Vec<Vec<Argument>>, take: usize) -> Value {
    let client = RedisClusterClient::new_momento_managed(cluster);
    commands
        .into_iter()
        .map(|parts| match client.command(command(parts)) {
            Ok(reply) => told(reply.into(), take),
            Err(error) => failed(error),
        })
        .collect()
}

fn to_url(url: String, commands: Vec<Vec<Argument>>, take: usize) -> Value {
    let client = RedisClient::new(url);
    match client.pipe(commands.into_iter().map(command).collect()) {
        Ok(replies) => replies.take(take).map(|reply| told(reply, take)).collect(),
        Err(error) => failed(error),
    }
}

/// The same names for both kinds of client.
trait Typed {
    fn set(&self, key: Vec<u8>, value: Vec<u8>) -> Value;
    fn get(&self, key: Vec<u8>) -> Value;
    fn delete(&self, key: Vec<u8>) -> Value;

    fn perform(&self, parts: Vec<Argument>) -> Value {
        let mut parts = parts.into_iter().map(Argument::into_bytes);
        let name = parts.next().unwrap_or_default();
        let mut next = || parts.next().unwrap_or_default();
        match name.as_slice() {
            b"set" => self.set(next(), next()),
            b"get" => self.get(next()),
            _ => self.delete(next()),
        }
    }
}

macro_rules! typed {
    ($client:ty) => {
        impl Typed for $client {
            fn set(&self, key: Vec<u8>, value: Vec<u8>) -> Value {
                <$client>::set(self, key, value)
                    .map_or_else(|error| json!({ "failed": error.to_string() }), |()| json!("set"))
            }

            fn get(&self, key: Vec<u8>) -> Value {
                <$client>::get::<Vec<u8>>(self, key).map_or_else(
                    |error| json!({ "failed": error.to_string() }),
                    |found| json!(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
                )
            }

            fn delete(&self, key: Vec<u8>) -> Value {
                <$client>::delete(self, key)
                    .map_or_else(|error| json!({ "failed": error.to_string() }), |()| json!("deleted"))
            }
        }
    };
}
typed!(RedisClient);
typed!(RedisClusterClient);

fn typed(client: &dyn Typed, commands: Vec<Vec<Argument>>) -> Value {
    let perform = |parts| client.perform(parts);
    commands.into_iter().map(perform).collect()
}

post!(old_redis_calls);
fn old_redis_calls(Json(request): Json<Request>) -> Json<Value> {
    let take = request.take.unwrap_or(usize::MAX);
    let commands = request.commands;
    let cluster = request.cluster.unwrap_or_default();
    Json(match (request.url, request.simple) {
        (Some(url), true) => typed(&RedisClient::new(url), commands),
        (Some(url), false) => to_url(url, commands, take),
        (None, true) => typed(&RedisClusterClient::new_momento_managed(cluster), commands),
        (None, false) => to_cluster(cluster, commands, take),
    })
}
