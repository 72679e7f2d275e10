//! A guest book in the DynamoDB table `visits`, as the role `ROLE`: `POST /aws-item/WHO` remembers the body, and answers
//! how often WHO was here and what they left behind the last time.

use std::env;

use momento_functions_aws_ddb::{
    AttributeValue, Authorization, DynamoDBClient, IamRole, Item, provider,
};
use momento_functions_guest_web::{WebEnvironment, WebError, WebResult, invoke};
use serde_json::{Value, json};

invoke!(visit);
fn visit(message: Vec<u8>) -> WebResult<Value> {
    let role_arn = env::var("ROLE")?;
    let role = Authorization::Federated(IamRole { role_arn });
    let table = DynamoDBClient::new(&provider(&role, "us-east-1")?);
    let who = WebEnvironment::load().http_path();

    let (mut visits, mut last) = (0, Vec::new());
    if let Some(Item { mut attributes }) = table.get_item_raw("visits", ("who", who))? {
        let not_ours = || WebError::message("the item is not ours");
        let mut take = |name: &str| attributes.remove(name).ok_or_else(not_ours);
        visits = i64::try_from(take("visits")?)?;
        last = Vec::try_from(take("message")?)?;
    }
    let item: [(&str, AttributeValue); 3] = [
        ("who", who.to_owned().into()),
        ("visits", (visits + 1).into()),
        ("message", message.into()),
    ];
    table.put_item("visits", item)?;
    Ok(json!({ "visits": visits + 1, "last": String::from_utf8_lossy(&last) }))
}
