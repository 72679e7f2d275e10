"""Topics: the broker in memory and the interface through which guests publish."""

from guesthouse.interfaces.topic.broker import Message, SlowSubscriber, Subscription, TopicBroker
from guesthouse.interfaces.topic.interface import TopicInterface

__all__ = ["Message", "SlowSubscriber", "Subscription", "TopicBroker", "TopicInterface"]
