"""`AwsDynamoDbInterface`: single items of DynamoDB tables, both generations.

Promises: items pass as the typed JSON that both sides speak; one that is not there is no error.  Must not know how
requests are signed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from guesthouse.engine.values import Ok
from guesthouse.interfaces.aws.auth import DDB_V1
from guesthouse.interfaces.aws.base import AwsInterface, Client, CredentialsProvider, collected, error
from guesthouse.interfaces.aws.dynamodb_json import (
    MOST_BYTES,
    Item,
    change_binaries,
    dump,
    padded,
    parse,
    unpadded,
    without_holding_up,
)
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.bytes import Data, discard
from guesthouse.net.aws_failures import OTHER, AwsFailure

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

DDB = "momento:aws-ddb/aws-ddb@1.0.0"

WitItem = tuple[str, Any]
"""`variant item`: JSON as `data`, or as a string in the older generation."""


class Capacity(NamedTuple):
    """`record capacity`"""

    capacity_units: float | None
    read_capacity_units: float | None
    write_capacity_units: float | None


class ConsumedCapacity(NamedTuple):
    """`record consumed-capacity`"""

    table_name: str
    capacity_units: float | None
    read_capacity_units: float | None
    write_capacity_units: float | None
    table: Capacity | None
    local_secondary_indexes: list[tuple[str, Capacity]] | None
    global_secondary_indexes: list[tuple[str, Capacity]] | None


class Output(NamedTuple):
    """`record put-item-output` and `record get-item-output`: both are an item and what it cost."""

    item: WitItem | None
    consumed_capacity: ConsumedCapacity | None


class AwsDynamoDbInterface(AwsInterface):
    """`aws-ddb`: put and get of items, granted as `aws-ddb:table`."""

    name = "aws-ddb"
    service = "dynamodb"
    patterns = "TABLE or TABLE*, or an ARN"
    resources = {(DDB, "client"): Client}  # noqa: RUF012  # that of the older generation is aws-auth's

    @host_call(DDB, "[constructor]client")
    def client(self, invocation: Invocation, credentials: CredentialsProvider) -> Client:
        """A client with these credentials."""
        return Client(credentials)

    @host_call(DDB, "[method]client.put-item", Effect.WRITE)
    async def put_item(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """Stores an item, if its condition holds."""
        return await self._put(invocation, client, request, old=False)

    @host_call(DDB_V1, "[method]client.put-item", Effect.WRITE)
    async def put_item_old(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """The same with JSON as text."""
        return await self._put(invocation, client, request, old=True)

    @host_call(DDB, "[method]client.get-item", Effect.READ)
    async def get_item(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """An item, or none."""
        return await self._get(invocation, client, request, old=False)

    @host_call(DDB_V1, "[method]client.get-item", Effect.READ)
    async def get_item_old(self, invocation: Invocation, client: Client, request: Any) -> Any:
        """The same with JSON as text."""
        return await self._get(invocation, client, request, old=True)

    async def _put(self, invocation: Invocation, client: Client, request: Any, old: bool) -> Any:
        wanted = {
            "TableName": request.table_name,
            "ReturnValues": request.return_values[0].upper().replace("-", "_"),
            "ReturnConsumedCapacity": request.return_consumed_capacity[0].upper(),
        }
        try:
            self.allow(invocation, request.table_name)
            wanted["Item"] = await _parsed(request.item, "the item")
            wanted |= await _condition(request.condition)
            return Ok(await self._exchange(invocation, client, "put_item", wanted, {"Item": {}}, old))
        except AwsFailure as failure:
            _discard(request)
            return error(failure)

    async def _get(self, invocation: Invocation, client: Client, request: Any, old: bool) -> Any:
        wanted: dict[str, Any] = {
            "TableName": request.table_name,
            "Key": {name: _key(value) for name, value in request.key},
            "ConsistentRead": request.consistent_read,
            "ReturnConsumedCapacity": request.return_consumed_capacity[0].upper(),
        }
        if request.projection_expression is not None:
            wanted["ProjectionExpression"] = request.projection_expression
        if request.expression_attribute_names is not None:
            wanted["ExpressionAttributeNames"] = dict(request.expression_attribute_names)
        try:
            self.allow(invocation, request.table_name)
            return Ok(await self._exchange(invocation, client, "get_item", wanted, {"Key": {}}, old))
        except AwsFailure as failure:
            return error(failure)

    async def _exchange(
        self,
        invocation: Invocation,
        client: Client,
        operation: str,
        wanted: dict[str, Any],
        stand_in: dict[str, Any],
        old: bool,
    ) -> Output:
        """Sends `wanted` as it is: botocore would read each value of an item and write it again, twice."""
        parameters = {"TableName": wanted["TableName"], **stand_in}
        answer = await self.call(invocation, client, operation, parameters, dump(wanted))
        return await without_holding_up(_output, answer.raw, old)


def _output(raw: bytes, old: bool) -> Output:
    """What the service answered as the guest reads it; raises `AwsFailure`."""
    try:
        found = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError:
        found = None
    item = found.get("Item", found.get("Attributes")) if isinstance(found, dict) else 0
    if item is not None and not isinstance(item, dict):
        raise AwsFailure(OTHER, "dynamodb: the answer is not what the service would say")
    consumed = _consumed(found.get("ConsumedCapacity"))
    if item is None:
        return Output(None, consumed)
    change_binaries(item, unpadded)
    text = dump(item)
    return Output(("json", text.decode() if old else ("value", text)), consumed)


async def _parsed(item: WitItem, what: str) -> Item:
    payload: Data | str = item[1]
    text = payload if isinstance(payload, str) else await collected(payload, MOST_BYTES, what)
    return await without_holding_up(parse, text, what)


async def _condition(condition: Any) -> dict[str, Any]:
    if condition is None:
        return {}
    found: dict[str, Any] = {"ConditionExpression": condition.expression}
    if condition.expression_attribute_names is not None:
        found["ExpressionAttributeNames"] = dict(condition.expression_attribute_names)
    if condition.expression_attribute_values is not None:
        values = await _parsed(condition.expression_attribute_values, "the value of the condition")
        found["ExpressionAttributeValues"] = values
    return found


def _key(value: tuple[str, str]) -> dict[str, str]:
    case, text = value
    return {case.upper(): padded(text) if case == "b" else text}


def _discard(request: Any) -> None:
    """Lets go of what a request that failed had brought along."""
    values = None if request.condition is None else request.condition.expression_attribute_values
    for item in (request.item, values):
        if item is not None and not isinstance(item[1], str):
            discard(item[1])


def _consumed(found: Any) -> ConsumedCapacity | None:
    if not isinstance(found, dict):
        return None
    table = found.get("Table")
    return ConsumedCapacity(
        str(found.get("TableName", "")),
        *_capacity(found),
        _capacity(table) if isinstance(table, dict) else None,
        _capacities(found.get("LocalSecondaryIndexes")),
        _capacities(found.get("GlobalSecondaryIndexes")),
    )


def _capacities(found: Any) -> list[tuple[str, Capacity]] | None:
    if not isinstance(found, dict):
        return None
    return [(name, _capacity(value)) for name, value in found.items() if isinstance(value, dict)]


def _capacity(found: dict[str, Any]) -> Capacity:
    return Capacity(*(_units(found, name) for name in ("CapacityUnits", "ReadCapacityUnits", "WriteCapacityUnits")))


def _units(found: dict[str, Any], name: str) -> float | None:
    value = found.get(name)
    return float(value) if isinstance(value, int | float) else None
