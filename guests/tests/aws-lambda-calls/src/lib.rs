//! The call of `momento:aws-lambda`, of which there is a draft but no crate:
//! `{"who": …, "function": "name", "qualifier": "…", "payload": "…", "how": "event", "tail": true, "context": "…"}`.
//!
//! `"who"` is `{"region": "us-east-1", "keys": [id, secret]}`, or `"role": arn` instead of `"keys"`. A provider that is
//! refused answers `{"refused": "…"}`, a call that fails `{"error": [case, "…"]}`.

mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../../abi/momento/bytes.wit",
            "../../../abi/momento/aws-auth.wit",
            "../../../abi/momento/aws-lambda.wit",
        ],
        world: "momento:aws-lambda/imports",
        with: {
            "momento:bytes/bytes@1.0.0": momento_functions_bytes::wit::momento::bytes::bytes,
            "momento:aws-auth/aws-auth@1.0.0": momento_functions_aws_auth::wit::momento::aws_auth::aws_auth,
        },
    });
}

use bindings::momento::aws_lambda::aws_lambda::{
    Client, InvocationType, InvokeRequest, InvokeSynchronousParameters, LambdaError, LogType,
};
use momento_functions_aws_auth::{
    AuthError, Authorization, Credentials, CredentialsProvider, IamRole, provider,
};
use momento_functions_bytes::Data;
use momento_functions_bytes::encoding::Json;
use momento_functions_guest_web::invoke;
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
    function: String,
    qualifier: Option<String>,
    payload: Option<String>,
    #[serde(default)]
    how: String,
    #[serde(default)]
    tail: bool,
    context: Option<String>,
}

fn failed(error: LambdaError) -> Value {
    match error {
        LambdaError::Unauthorized(text) => json!({ "error": ["unauthorized", text] }),
        LambdaError::Malformed(text) => json!({ "error": ["malformed", text] }),
        LambdaError::Other(text) => json!({ "error": ["other", text] }),
    }
}

fn called(client: &Client, order: Order) -> Value {
    let how = match order.how.as_str() {
        "event" => InvocationType::Event,
        "dry-run" => InvocationType::DryRun,
        _ => InvocationType::RequestResponse(InvokeSynchronousParameters {
            log_type: order.tail.then_some(LogType::Tail),
            client_context: order.context,
        }),
    };
    let answer = client.invoke(InvokeRequest {
        function_name: order.function,
        qualifier: order.qualifier,
        payload: order.payload.map(|text| Data::from(text).into()),
        invocation_type: how,
    });
    match answer {
        Ok(found) => json!({
            "status": found.status_code,
            "payload": found.payload.map(|payload| String::from_utf8_lossy(&Data::from(payload).into_bytes()).into_owned()),
            "log": found.log_result,
            "version": found.executed_version,
        }),
        Err(error) => failed(error),
    }
}

invoke!(aws_lambda_calls);
fn aws_lambda_calls(Json(mut order): Json<Order>) -> Value {
    let who = std::mem::replace(
        &mut order.who,
        Who {
            region: String::new(),
            keys: None,
            role: None,
        },
    );
    match credentials(who) {
        Ok(credentials) => called(&Client::new(&credentials), order),
        Err(refused) => refused,
    }
}
