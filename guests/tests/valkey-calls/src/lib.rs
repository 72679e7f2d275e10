//! Sends the commands in the request's body to a managed cluster, and answers each reply as JSON:
//!
//! ```json
//! {"cluster": "main", "commands": [["SET", "color", "blue"], ["GET", "color"], ["LPUSH", "l", [0, 255]]]}
//! ```
//!
//! An argument is text, or a list of bytes. With `take`, at most that many elements of each array are read, and the
//! rest is dropped. `POST /valkey-calls/KEY` stores the body itself, unread; `GET` answers what is stored, unread.

use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::{Extract, Json};
use momento_functions_guest_web::{WebEnvironment, WebResponse, WebResult, invoke};
use momento_functions_valkey::{
    ClusterClient, Command, ValkeyError, Value as Reply, get_managed_cluster_client,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    cluster: String,
    commands: Vec<Vec<Argument>>,
    take: Option<usize>,
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

fn send(client: &ClusterClient, parts: Vec<Argument>) -> Result<Reply, ValkeyError> {
    let mut parts = parts.into_iter().map(Argument::into_bytes);
    let name = String::from_utf8(parts.next().unwrap_or_default()).expect("a name is text");
    let mut command = Command::builder(name);
    for part in parts {
        command.argument(part);
    }
    client.command(command)
}

fn told(reply: Reply, take: usize) -> Value {
    match reply {
        Reply::Nil => Value::Null,
        Reply::Int(number) => json!(number),
        Reply::Data(data) => match String::from_utf8(data.into_bytes()) {
            Ok(text) => json!({ "data": text }),
            Err(error) => json!({ "bytes": error.into_bytes() }),
        },
        Reply::Bulk(bulk) => bulk.take(take).map(|reply| told(reply, take)).collect(),
        Reply::Ok => json!("ok"),
        Reply::SimpleString(text) => json!({ "simple-string": text }),
        Reply::SimpleError(text) => json!({ "simple-error": text }),
    }
}

fn answer(result: Result<Reply, ValkeyError>, take: usize) -> Value {
    match result {
        Ok(reply) => told(reply, take),
        Err(ValkeyError::Other(text)) => json!({ "other": text }),
    }
}

fn stored(key: String, method: &str, body: Data) -> WebResult<WebResponse> {
    let client = get_managed_cluster_client("main");
    let reply = match method {
        "GET" => client.command(Command::get(key)),
        _ => client.command(Command::set(key, body)),
    };
    Ok(match reply {
        Ok(Reply::Data(data)) => WebResponse::new().with_body(data)?,
        other => WebResponse::new().with_body(answer(other, 0).to_string())?,
    })
}

invoke!(valkey_calls);
fn valkey_calls(body: Data) -> WebResult<WebResponse> {
    let environment = WebEnvironment::load();
    let key = environment.http_path();
    if !key.is_empty() {
        return stored(key.to_string(), &environment.http_method(), body);
    }
    let Json(request) = Json::<Request>::extract(body)?;
    let client = get_managed_cluster_client(request.cluster);
    let take = request.take.unwrap_or(usize::MAX);
    let answers: Vec<Value> = request
        .commands
        .into_iter()
        .map(|command| answer(send(&client, command), take))
        .collect();
    Ok(WebResponse::new().with_body(Value::from(answers).to_string())?)
}
