//! `PUT /aws-object/KEY` stores the request's body in the bucket `BUCKET` as the role `ROLE`, `GET` answers the object.
//! Neither body is ever in this function's memory.

use std::env;

use momento_functions_aws_s3::{Authorization, IamRole, PutObjectRequest, S3Client, provider};
use momento_functions_bytes::Data;
use momento_functions_guest_web::{WebEnvironment, WebResponse, WebResult, invoke};

invoke!(object);
fn object(body: Data) -> WebResult<WebResponse> {
    let role_arn = env::var("ROLE")?;
    let role = Authorization::Federated(IamRole { role_arn });
    let s3 = S3Client::new(&provider(&role, "us-east-1")?);
    let bucket = env::var("BUCKET")?;
    let request = WebEnvironment::load();
    if request.http_method() == "PUT" {
        let put = PutObjectRequest::new(bucket, request.http_path(), body)
            .with_metadata_entry("stored-by", "aws-object");
        s3.put(put)?;
        return Ok(WebResponse::new().with_status(204));
    }
    match s3.get::<Data>(bucket, request.http_path())? {
        Some(found) => Ok(WebResponse::new()
            .with_headers(found.metadata)
            .with_body(found.body)?),
        None => Ok(WebResponse::new().with_status(404)),
    }
}
