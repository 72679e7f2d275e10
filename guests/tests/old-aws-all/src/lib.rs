//! All of AWS through the older generation of the crates, as people wrote it: an object of S3, an item of DynamoDB, a
//! secret and a Lambda function, with credentials that are given (or those the build was given).
//!
//! `{"bucket": "b", "table": "t", "secret": "s", "function": "f", "keys": [id, secret]}`

use std::time::Duration;

use momento_functions::{WebResult, post};
use momento_functions_host::aws::auth::{AwsCredentialsProvider, Credentials};
use momento_functions_host::aws::ddb::{AttributeValue, DynamoDBClient, Item};
use momento_functions_host::aws::lambda::LambdaClient;
use momento_functions_host::aws::s3::S3Client;
use momento_functions_host::aws::secrets_manager::{GetSecretValueRequest, SecretsManagerClient};
use momento_functions_host::build_environment_aws_credentials;
use momento_functions_host::encoding::Json;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    bucket: String,
    table: String,
    secret: String,
    function: String,
    keys: Option<(String, String)>,
}

post!(old_aws_all);
fn old_aws_all(Json(order): Json<Order>) -> WebResult<Json<Value>> {
    let credentials = match order.keys {
        Some((access_key_id, secret_access_key)) => Credentials::Hardcoded {
            access_key_id,
            secret_access_key,
        },
        None => build_environment_aws_credentials!("GUESTHOUSE_TEST_"),
    };
    let who = AwsCredentialsProvider::new("us-east-1", credentials)?;

    let objects = S3Client::new(&who);
    objects.put(&order.bucket, "greeting", "hello")?;
    let object: Option<Vec<u8>> = objects.get(&order.bucket, "greeting")?;
    let missing: Option<Vec<u8>> = objects.get(&order.bucket, "nobody stored this")?;

    let items = DynamoDBClient::new(&who);
    let item: Item = [
        ("id", AttributeValue::from("one".to_string())),
        ("count", 7.into()),
        ("picture", vec![1u8].into()),
    ]
    .into();
    items.put_item(&order.table, item)?;
    let item = items.get_item_raw(&order.table, ("id", "one"))?;
    let picture = item.map(|mut item| item.attributes.remove("picture"));
    let picture = picture.flatten().map(Vec::<u8>::try_from).transpose()?;

    let secrets = SecretsManagerClient::new(&who);
    let wanted = GetSecretValueRequest::new(order.secret);
    let secret: Vec<u8> = secrets.get_secret_value(wanted, Duration::from_secs(60))?;

    let answer = LambdaClient::new(&who).invoke(order.function.as_str(), "hello")?;

    Ok(Json(json!({
        "object": object,
        "missing": missing,
        "picture": picture,
        "secret": String::from_utf8(secret)?,
        "lambda": answer.status_code(),
    })))
}
