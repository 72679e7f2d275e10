//! Every call of `momento:host/aws-s3`, of the older generation, the two deprecated ones as well:
//! `{"do": "put", "who": …, "bucket": "b", "key": "k", "body": "…"}`, `get`, and `put-extended` and `get-extended` with
//! `"type"` and `"encoding"`.
//!
//! `"who"` is `{"region": "us-east-1", "keys": [id, secret]}`, or `"role": arn` instead of `"keys"`. A provider that is
//! refused answers `{"refused": "…"}`, a call that fails `{"error": [case, "…"]}`.
//! Bytes are text of which each character is one byte.

use momento_functions::post;
use momento_functions_host::encoding::Json;
use momento_functions_wit::host::momento::host::aws_auth::{
    AuthError, Authorization, Credentials, CredentialsProvider, IamRole, provider,
};
use momento_functions_wit::host::momento::host::aws_s3::{
    Client, GetObjectRequest, ObjectOptions, PutObjectRequest, S3Error,
};
use serde::Deserialize;
use serde_json::{Value, json};

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
    r#type: Option<String>,
    encoding: Option<String>,
}

fn failed(error: S3Error) -> Value {
    match error {
        S3Error::Unauthorized(text) => json!({ "error": ["unauthorized", text] }),
        S3Error::Malformed(text) => json!({ "error": ["malformed", text] }),
        S3Error::Other(text) => json!({ "error": ["other", text] }),
    }
}

fn text(body: Option<Vec<u8>>) -> Option<String> {
    body.map(|body| body.into_iter().map(char::from).collect())
}

fn put(client: &Client, order: Order) -> Value {
    let request = PutObjectRequest {
        bucket: order.bucket,
        key: order.key,
        body: order
            .body
            .chars()
            .map(|character| character as u8)
            .collect(),
    };
    let options = ObjectOptions {
        content_type: order.r#type,
        content_encoding: order.encoding,
    };
    let answer = match order.r#do.as_str() {
        "put" => client.put(&request),
        _ => client.put_extended(&request, &options),
    };
    match answer {
        Ok(found) => {
            json!({ "etag": found.etag, "version_id": found.version_id, "expiration": found.expiration })
        }
        Err(error) => failed(error),
    }
}

fn get(client: &Client, order: Order) -> Value {
    let request = GetObjectRequest {
        bucket: order.bucket,
        key: order.key,
    };
    let options = ObjectOptions {
        content_type: order.r#type,
        content_encoding: order.encoding,
    };
    match order.r#do.as_str() {
        "get" => match client.get(&request) {
            Ok(found) => json!({
                "body": text(found.body),
                "etag": found.etag,
                "version_id": found.version_id,
                "expiration": found.expiration,
            }),
            Err(error) => failed(error),
        },
        _ => match client.get_extended(&request, &options) {
            Ok(found) => json!({
                "body": text(found.body),
                "etag": found.etag,
                "version_id": found.version_id,
                "expiration": found.expiration,
                "type": found.content_type,
            }),
            Err(error) => failed(error),
        },
    }
}

post!(old_aws_s3_calls);
fn old_aws_s3_calls(Json(mut order): Json<Order>) -> Value {
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
        Err(refused) => return refused,
    };
    if order.r#do.starts_with("put") {
        put(&client, order)
    } else {
        get(&client, order)
    }
}
