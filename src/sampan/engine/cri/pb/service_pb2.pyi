from sampan.engine.cri.pb import container_calls_pb2 as _container_calls_pb2
from sampan.engine.cri.pb import events_pb2 as _events_pb2
from sampan.engine.cri.pb import image_calls_pb2 as _image_calls_pb2
from sampan.engine.cri.pb import runtime_pb2 as _runtime_pb2
from sampan.engine.cri.pb import sandbox_calls_pb2 as _sandbox_calls_pb2
from sampan.engine.cri.pb import stats_pb2 as _stats_pb2
from sampan.engine.cri.pb import streaming_pb2 as _streaming_pb2
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor
