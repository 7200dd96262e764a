"""What the machine says of AWS where no settings do: the environment, a profile, a role."""

import os
from dataclasses import dataclass

from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError

from thermocline.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class AwsEnvironment:
    """How to reach AWS with the credentials that the usual chain finds."""

    region: str
    """Empty: it names none."""
    endpoint: str
    """Empty: AWS itself."""


async def aws_environment() -> AwsEnvironment | None:
    """Return what the usual chain of AWS says; None if it has no credentials.

    May ask the machine for its role, which takes a second or two where there is none. Raises `ConfigurationError` for
    what is there, but of no use: a profile that does not exist, half of a pair of keys.
    """
    session = get_session()
    try:
        credentials = await session.get_credentials()
        region = session.get_config_variable("region")
    except BotoCoreError as exc:
        raise ConfigurationError(f"the environment of AWS is of no use: {exc}") from exc
    if credentials is None:
        return None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # AWS_REGION is what newer programs read, AWS_DEFAULT_REGION what botocore does.
    return AwsEnvironment(region or os.environ.get("AWS_REGION") or "", endpoint or "")
