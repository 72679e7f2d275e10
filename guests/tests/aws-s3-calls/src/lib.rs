//! Every call of `momento:aws-s3@1.1.0`: `{"do": "put", "who": …, "bucket": "b", "key": "k", "body": "…"}` with
//! `"metadata": [[name, value]]`, and `{"do": "get", "who": …, "bucket": "b", "key": "k"}`.
//!
//! `"who"` is `{"region": "us-east-1", "keys": [id, secret]}`, or `"role": arn` instead of `"keys"`. A provider that is
//! refused answers `{"refused": "…"}`, a call that fails `{"error": [case, "…"]}`.
//! Bytes are text of which each character is one byte. `"do": "pass"` answers the object itself, which this function
//! never reads, and `"do": "count"` the number of its bytes, read piece by piece, and how reading ended.

use momento_functions_aws_s3::wit::momento::aws_s3::aws_s3::{
    Client, GetObjectRequest, PutObjectRequest, S3Error,
};
use momento_functions_aws_s3::{
    AuthError, Authorization, Credentials, CredentialsProvider, IamRole, provider,
};
use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::{WebResponse, WebResult, invoke};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read;

#[derive(Deserialize)]
struct Who {
    region: String,
    keys: Option<(String, String)>,
    role: Option<String>,
}

fn credentials(who: Who) -> Result<CredentialsProvider, Value> {
    let authorization = match (who.keys, who.role) {
        (Some((access_key_id, secret_access_key)), _) => Authorization::Hardcoded(Credentials {
            access_key_id,
            secret_access_key,
        }),
        (None, role) => Authorization::Federated(IamRole {
            role_arn: role.unwrap_or_default(),
        }),
    };
    provider(&authorization, &who.region).map_err(|error| match error {
        AuthError::Unauthorized(text) => json!({ "refused": text }),
    })
}

#[derive(Deserialize)]
struct Order {
    r#do: String,
    who: Who,
    bucket: String,
    key: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    metadata: Vec<(String, String)>,
}

fn failed(error: S3Error) -> Value {
    match error {
        S3Error::Unauthorized(text) => json!({ "error": ["unauthorized", text] }),
        S3Error::Malformed(text) => json!({ "error": ["malformed", text] }),
        S3Error::Other(text) => json!({ "error": ["other", text] }),
        S3Error::Throttled(text) => json!({ "error": ["throttled", text] }),
    }
}

fn put(client: &Client, order: Order) -> Value {
    let body: Vec<u8> = order
        .body
        .chars()
        .map(|character| character as u8)
        .collect();
    let answer = client.put(PutObjectRequest {
        bucket: order.bucket,
        key: order.key,
        body: Data::from(body).into(),
        metadata: order.metadata,
    });
    match answer {
        Ok(found) => {
            json!({ "etag": found.etag, "version_id": found.version_id, "expiration": found.expiration })
        }
        Err(error) => failed(error),
    }
}

fn counted(mut body: Data) -> Value {
    let mut piece = vec![0; 65536];
    let mut size = 0;
    loop {
        match body.read(&mut piece) {
            Ok(0) => return json!({ "size": size, "end": "regular" }),
            Ok(count) => size += count,
            Err(error) => return json!({ "size": size, "end": error.to_string() }),
        }
    }
}

fn get(client: &Client, order: Order) -> WebResult<WebResponse> {
    let answer = client.get(&GetObjectRequest {
        bucket: order.bucket,
        key: order.key,
    });
    let found = match answer {
        Ok(found) => found,
        Err(error) => return Ok(WebResponse::new().with_body(Json(failed(error)))?),
    };
    let body = found.body.map(Data::from);
    if order.r#do == "pass" {
        return Ok(WebResponse::new().with_body(body.unwrap_or_else(|| Data::from("none")))?);
    }
    if order.r#do == "count" {
        return Ok(WebResponse::new().with_body(Json(body.map(counted)))?);
    }
    let body = body.map(|body| {
        body.into_bytes()
            .into_iter()
            .map(char::from)
            .collect::<String>()
    });
    Ok(WebResponse::new().with_body(Json(json!({
        "body": body,
        "etag": found.etag,
        "version_id": found.version_id,
        "expiration": found.expiration,
        "metadata": found.metadata,
    })))?)
}

invoke!(calls);
fn calls(Json(mut order): Json<Order>) -> WebResult<WebResponse> {
    let who = std::mem::replace(
        &mut order.who,
        Who {
            region: String::new(),
            keys: None,
            role: None,
        },
    );
    let client = match credentials(who) {
        Ok(credentials) => Client::new(&credentials),
        Err(refused) => return Ok(WebResponse::new().with_body(Json(refused))?),
    };
    if order.r#do == "put" {
        return Ok(WebResponse::new().with_body(Json(put(&client, order)))?);
    }
    get(&client, order)
}
