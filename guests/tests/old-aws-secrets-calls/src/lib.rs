//! The call of `momento:host/aws-secrets`, of the older generation: as `aws-secrets-calls`.
//!
//! `"who"` is `{"region": "us-east-1", "keys": [id, secret]}`, or `"role": arn` instead of `"keys"`. A provider that is
//! refused answers `{"refused": "…"}`, a call that fails `{"error": [case, "…"]}`.

use momento_functions::post;
use momento_functions_host::encoding::Json;
use momento_functions_wit::host::momento::host::aws_auth::{
    AuthError, Authorization, Credentials, CredentialsProvider, IamRole, provider,
};
use momento_functions_wit::host::momento::host::aws_secrets::{
    Client, GetSecretValueRequest, SecretValue, SecretsError,
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
    who: Who,
    id: String,
    version: Option<String>,
    stage: Option<String>,
    #[serde(default)]
    staleness: u64,
}

fn failed(error: SecretsError) -> Value {
    match error {
        SecretsError::NotFound => json!({ "error": ["not-found"] }),
        SecretsError::Unauthorized(text) => json!({ "error": ["unauthorized", text] }),
        SecretsError::Malformed(text) => json!({ "error": ["malformed", text] }),
        SecretsError::Other(text) => json!({ "error": ["other", text] }),
    }
}

fn got(client: &Client, order: Order) -> Value {
    let answer = client.get_secret_value(&GetSecretValueRequest {
        secret_id: order.id,
        version_id: order.version,
        version_stage: order.stage,
        allowed_staleness_seconds: order.staleness,
    });
    let found = match answer {
        Ok(found) => found,
        Err(error) => return failed(error),
    };
    json!({
        "arn": found.arn,
        "created": found.created_date_epoch_seconds,
        "name": found.name,
        "secret": match found.secret {
            SecretValue::SecretBytes(bytes) => json!({ "bytes": bytes }),
            SecretValue::SecretString(text) => json!({ "string": text }),
        },
        "version": found.version_id,
        "stages": found.version_stages,
    })
}

post!(old_aws_secrets_calls);
fn old_aws_secrets_calls(Json(mut order): Json<Order>) -> Value {
    let who = std::mem::replace(
        &mut order.who,
        Who {
            region: String::new(),
            keys: None,
            role: None,
        },
    );
    match credentials(who) {
        Ok(credentials) => got(&Client::new(&credentials), order),
        Err(refused) => refused,
    }
}
