"""Sends standard input as one record of usage.v1 with librdkafka: librdkafka.py BROKER"""
import sys
from confluent_kafka import Producer

failed = []
producer = Producer({"bootstrap.servers": sys.argv[1], "compression.type": "snappy"})
producer.produce("usage.v1", key="a-key-of-its-own", value=sys.stdin.read().strip(), on_delivery=lambda error, _: failed.append(error) if error else None)
producer.flush(30)
sys.exit(str(failed[0]) if failed else 0)
