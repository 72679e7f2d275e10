"""Topics: the broker in memory and the interface through which guests publish."""

from guesthouse.interfaces.topic.broker import (
    Message,
    Missed,
    Subscription,
    TooManySubscriptions,
    TopicBroker,
    TopicLimits,
)
from guesthouse.interfaces.topic.interface import TopicInterface

__all__ = [
    "Message",
    "Missed",
    "Subscription",
    "TooManySubscriptions",
    "TopicBroker",
    "TopicInterface",
    "TopicLimits",
]
