//! Answers how long the secret `NAME` is, as the role `ROLE`: `POST /aws-secret/NAME`. AWS is asked once in ten minutes.

use std::env;
use std::time::Duration;

use momento_functions_aws_secrets_manager::{
    Authorization, GetSecretValueRequest, IamRole, SecretsManagerClient, provider,
};
use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResult, invoke};

invoke!(secret);
fn secret(_: Data) -> WebResult<String> {
    let role_arn = env::var("ROLE")?;
    let role = Authorization::Federated(IamRole { role_arn });
    let secrets = SecretsManagerClient::new(&provider(&role, "us-east-1")?);
    let wanted = GetSecretValueRequest::new(WebEnvironment::load().http_path());
    let value: Vec<u8> = secrets.get_secret_value(wanted, Duration::from_secs(600))?;
    Ok(format!("{} bytes", value.len()))
}
