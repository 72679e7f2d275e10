"""Services of AWS for guests, each an interface with a grant of its own; `aws_interfaces` builds them all.

A call needs three things that belong to three different people: the guest's word (a handle of `aws-auth`), the
deployment's grant (`aws-s3:bucket/prefix*`), and the permission of the credentials at AWS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.interfaces.aws.auth import AwsAuthInterface
from guesthouse.interfaces.aws.dynamodb import AwsDynamoDbInterface
from guesthouse.interfaces.aws.lambda_ import AwsLambdaInterface
from guesthouse.interfaces.aws.s3 import AwsS3Interface
from guesthouse.interfaces.aws.secrets import AwsSecretsInterface

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.base import Interface
    from guesthouse.net.aws import AwsClients

__all__ = [
    "AwsAuthInterface",
    "AwsDynamoDbInterface",
    "AwsLambdaInterface",
    "AwsS3Interface",
    "AwsSecretsInterface",
    "aws_interfaces",
]


def aws_interfaces(clients: AwsClients, clock: Clock) -> list[Interface]:
    """One object of every interface, over one set of clients; without the extra all their calls answer errors."""
    return [
        AwsAuthInterface(clients),
        AwsDynamoDbInterface(clients, clock),
        AwsS3Interface(clients, clock),
        AwsSecretsInterface(clients, clock),
        AwsLambdaInterface(clients, clock),
    ]
