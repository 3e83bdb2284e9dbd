"""What a Motorpool plugin is written against."""

from motorpool_sdk.accelerator import (
    AcceleratorPlugin,
    Device,
    DeviceError,
    Exposure,
    Health,
    Link,
    MemoryKind,
    Process,
    Sample,
    SourceReport,
)
from motorpool_sdk.backend import (
    BackendPlugin,
    Environment,
    Finding,
    Launch,
    LaunchRequest,
    MemoryModel,
    Option,
    OptionKind,
    Parameter,
    Probe,
    Profile,
    Severity,
    Version,
)
from motorpool_sdk.discovery import Found, discover
from motorpool_sdk.errors import ManifestError, PluginError, SdkError, WireError
from motorpool_sdk.hookspecs import hookimpl
from motorpool_sdk.manifest import API_VERSION, Kind, Manifest

__all__ = [
    "API_VERSION",
    "AcceleratorPlugin",
    "BackendPlugin",
    "Device",
    "DeviceError",
    "Environment",
    "Exposure",
    "Finding",
    "Found",
    "Health",
    "Kind",
    "Launch",
    "LaunchRequest",
    "Link",
    "Manifest",
    "ManifestError",
    "MemoryKind",
    "MemoryModel",
    "Option",
    "OptionKind",
    "Parameter",
    "PluginError",
    "Probe",
    "Process",
    "Profile",
    "Sample",
    "SdkError",
    "Severity",
    "SourceReport",
    "Version",
    "WireError",
    "discover",
    "hookimpl",
]
