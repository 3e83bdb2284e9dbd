"""Huawei Ascend accelerators."""
