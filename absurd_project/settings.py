"""Django settings: one block a concern, the environment read through env.py only."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from absurd_project import env
from absurd_project.local import servers
from absurd_project.local.locations import state_directory
from tasks_app import tracing
from tasks_app.version import IS_CHECKOUT, VERSION

BASE_DIR = Path(__file__).resolve().parent.parent
SHARED = BASE_DIR if IS_CHECKOUT else BASE_DIR / "absurd_project"
ABSURD_DOCS = SHARED / "docs"

# Modes
ABSURD_MODE = env.mode()
ABSURD_VAR = state_directory()
PRODUCTION = ABSURD_MODE == "production"
DEBUG = False
# Read first: they decide on the mode, and so on what else is asked for.
DATABASE_URL_GIVEN = env.url("ABSURD_DATABASE_URL", ("postgresql", "postgres"), shown="a private PostgreSQL")
REDIS_URL_GIVEN = env.url("ABSURD_REDIS_URL", ("redis", "rediss", "unix"), shown="a private Valkey")
SECRET_KEY = env.secret_key(ABSURD_VAR, ABSURD_MODE)

# The queue
ABSURD_ENABLED = env.flag("ABSURD_ENABLED", default=False, shown="`false`; `true` under `make up`")
ABSURD_QUEUE_NAME = env.queue_name("ABSURD_QUEUE_NAME", "dsa110-pipeline")
ABSURD_TASK_MODULES = env.names("ABSURD_TASK_MODULES")
ABSURD_WORKER_CONCURRENCY = env.integer("ABSURD_WORKER_CONCURRENCY", least=1, most=256)
ABSURD_WORKER_POLL_INTERVAL = env.seconds("ABSURD_WORKER_POLL_INTERVAL", least=0.01)
ABSURD_TASK_TIMEOUT = env.integer("ABSURD_TASK_TIMEOUT", least=1, unit="seconds")
ABSURD_MAX_RETRIES = env.integer("ABSURD_MAX_RETRIES", most=100)
ABSURD_LEASE_SEC = env.integer("ABSURD_LEASE_SEC", least=2, unit="seconds")
ABSURD_HEARTBEAT_SEC = env.integer("ABSURD_HEARTBEAT_SEC", least=1, most=3600, unit="seconds")
ABSURD_STOP_GRACE_SEC = env.seconds("ABSURD_STOP_GRACE_SEC")
ABSURD_POLL_ONLY = env.flag("ABSURD_POLL_ONLY")
ABSURD_BACKOFF_BASE_SEC = env.seconds("ABSURD_BACKOFF_BASE_SEC")
ABSURD_BACKOFF_CAP_SEC = env.seconds("ABSURD_BACKOFF_CAP_SEC")
ABSURD_RETENTION_DAYS = env.days("ABSURD_RETENTION_DAYS", least=1)
ABSURD_FAILED_RETENTION_DAYS = env.days("ABSURD_FAILED_RETENTION_DAYS", least=1)
ABSURD_KEY_RETENTION_DAYS = env.days("ABSURD_KEY_RETENTION_DAYS", least=1)
ABSURD_ARCHIVE_DAYS = env.archive_days("ABSURD_ARCHIVE_DAYS", key_days=ABSURD_KEY_RETENTION_DAYS)
ABSURD_API_KEY = env.text("ABSURD_API_KEY")
ABSURD_DIAGNOSTICS = env.flag("ABSURD_DIAGNOSTICS", default=not PRODUCTION, shown="`true`, in production `false`")
ABSURD_DATA_ROOTS = env.paths(
    "ABSURD_DATA_ROOTS", f"{ABSURD_VAR / 'data'}:/stage:/data", shown="`$ABSURD_VAR/data:/stage:/data`"
)
ABSURD_DATA_ROOTS_GIVEN = bool(env.text("ABSURD_DATA_ROOTS"))
ABSURD_FILES_KEY = env.files_key("ABSURD_FILES_KEY")
ABSURD_FILES_BIND = env.files_address("ABSURD_FILES_BIND", ABSURD_FILES_KEY)
ABSURD_DISK_FLOOR_GB = env.gigabytes("ABSURD_DISK_FLOOR_GB")
ABSURD_LOG_MAX_MB = env.integer("ABSURD_LOG_MAX_MB", least=1, most=1_000_000, unit="megabytes")
ABSURD_LOG_DAYS = env.days("ABSURD_LOG_DAYS", least=1)
ABSURD_BACKUP_DIR = env.directory("ABSURD_BACKUP_DIR", ABSURD_VAR / "backups", shown="`$ABSURD_VAR/backups`")
ABSURD_BACKUP_KEEP = env.integer("ABSURD_BACKUP_KEEP", least=1, most=10_000)
ABSURD_BACKUP_DATABASE_URL = env.url(
    "ABSURD_BACKUP_DATABASE_URL", ("postgresql", "postgres"), shown="`ABSURD_DATABASE_URL`"
)
ABSURD_HEALTH = env.numbers("ABSURD_HEALTH")
ABSURD_NOTIFY = env.recipients("ABSURD_NOTIFY")
ABSURD_SMTP_URL = env.url("ABSURD_SMTP_URL", ("smtp", "smtps", "smtp+starttls"))
ABSURD_NOTIFY_EVERY_SEC = env.seconds("ABSURD_NOTIFY_EVERY_SEC")
ABSURD_NOTIFY_QUIET = env.hours("ABSURD_NOTIFY_QUIET")
ABSURD_CONSOLE = True
ABSURD_BIND = env.bind("ABSURD_BIND", ABSURD_MODE)
ABSURD_PORT = env.integer("ABSURD_PORT", least=1, most=65535)

# The stages and units of systemd read these themselves.
for each in ("ABSURD_CASA_DATA", "ABSURD_INCOMING", "ABSURD_PILOTS", "ABSURD_PILOTS_OPTIONS"):
    env.text(each)

# Django's tasks go into the queue; its queue "default" is the one that workers serve by default.
ABSURD_DJANGO_TASK_MODULES = env.names("ABSURD_DJANGO_TASK_MODULES")
TASKS = {
    "default": {
        "BACKEND": "tasks_app.django_tasks_backend.AbsurdBackend",
        "OPTIONS": {"QUEUE_NAMES": {"default": ABSURD_QUEUE_NAME}},
    }
}

# Servers
ABSURD_DATABASE_URL = DATABASE_URL_GIVEN or servers.database_url(ABSURD_VAR)
ABSURD_REDIS_URL = REDIS_URL_GIVEN or servers.redis_url(ABSURD_VAR)


# A process frozen inside a transaction would keep its row locks, and so keep its tasks from ever being returned.
IDLE_TRANSACTION_SEC = env.integer("ABSURD_IDLE_TRANSACTION_SEC", unit="seconds")
# A server that went away without a word is noticed in seconds, not in the minutes that TCP takes by itself.
NETWORK_LIMITS = {"connect_timeout": 3, "tcp_user_timeout": 5000, "keepalives_idle": 30}


def _database(url: str) -> dict[str, object]:
    query = env.conninfo("ABSURD_DATABASE_URL", url)
    return {
        "ENGINE": "tasks_app.postgresql",
        "NAME": query.pop("dbname", "absurd"),
        "USER": query.pop("user", ""),
        "PASSWORD": query.pop("password", ""),
        "HOST": query.pop("host", ""),
        "PORT": query.pop("port", ""),
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # behind PgBouncer the next fetch may meet another server connection
        "OPTIONS": {
            **NETWORK_LIMITS,
            **query,
            "limits": {"idle_in_transaction_session_timeout": IDLE_TRANSACTION_SEC * 1000},
            "pool": {"max_size": env.integer("ABSURD_POOL_MAX_SIZE", least=2)},
        },
    }


DATABASES = {"default": _database(ABSURD_DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ABSURD_CHANNEL_PREFIX = env.text("ABSURD_CHANNEL_PREFIX")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [ABSURD_REDIS_URL], "prefix": ABSURD_CHANNEL_PREFIX},
    }
}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# Applications: `channels` stays out, because its only use there is a runworker command that would fight ours.
# Daphne's application only replaces runserver, and its import of twisted would slow every other command.
INSTALLED_APPS = [
    *(["daphne"] if "runserver" in sys.argv else []),
    "absurd_project.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_api_key",
    "axes",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "workers",
    "pipeline_app",
    "tasks_app",
    "absurd_project",
]
MIDDLEWARE = [
    "absurd_project.middleware.answer_headers",
    "corsheaders.middleware.CorsMiddleware",
    "absurd_project.middleware.probe",
    "absurd_project.middleware.refuse_nul",
    "django.middleware.security.SecurityMiddleware",
    "absurd_project.middleware.StaticFiles",
    *(["absurd_project.middleware.traced"] if tracing.ON else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
ROOT_URLCONF = "absurd_project.urls"
ASGI_APPLICATION = "absurd_project.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [SHARED / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# REST
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tasks_app.api.access.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tasks_app.api.access.ScopedAccess"],
    "DEFAULT_THROTTLE_CLASSES": ["tasks_app.api.access.CallerThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["tasks_app.api.requests.JsonObjectParser"],
    "DEFAULT_SCHEMA_CLASS": "tasks_app.api.schema.Schema",
    "EXCEPTION_HANDLER": "tasks_app.api.errors.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
API_TAGS = (
    *("tasks", "task-names", "runs", "workflows", "workers", "queues", "schedules", "limits", "pipeline", "health"),
    *("metrics", "feed", "freeze", "thaw", "enable", "disable", "emergency"),
)
"""In the order in which the documents show them."""
SPECTACULAR_SETTINGS = {
    "TITLE": "Absurd for DSA-110",
    "DESCRIPTION": "The queue of the DSA-110 continuum-imaging pipeline. Errors are application/problem+json.",
    "VERSION": VERSION,
    "TAGS": [{"name": name} for name in API_TAGS],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["tasks_app.api.access.ScopedAccess"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "tasks_app.api.schema.add_problems",
        "tasks_app.api.schema.add_links",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TaskStatusEnum": "tasks_app.models.task.TaskStatus",
        "HealthStatusEnum": ["healthy", "degraded", "unhealthy", "disabled"],
        "RunStateEnum": "tasks_app.workflows.state.WORDS",
        "ObservationStateEnum": "pipeline_app.models.ObservationState",
        "SubbandStateEnum": "pipeline_app.models.SubbandState",
        "WorkerStateEnum": "tasks_app.monitoring.workers.STATES",
    },
}

# Security
# Below this path nginx sends files of the data roots itself; see deploy/nginx.
ABSURD_INTERNAL_FILES = env.url_path("ABSURD_INTERNAL_FILES")
# Whose X-Forwarded-For and X-Forwarded-Proto are believed; see tasks_app.auth.client_address.
ABSURD_PROXIES = env.networks("ABSURD_PROXIES", "unix")
ABSURD_THROTTLE = env.numbers("ABSURD_THROTTLE")
ALLOWED_HOSTS = env.hosts("ABSURD_HOSTS", ABSURD_MODE)
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS] if PRODUCTION else []
# A front end of another origin: it shows a key or a ticket, never the cookies of the console.
CORS_ALLOWED_ORIGINS = env.origins("ABSURD_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match",
                      "last-event-id", "range", "x-api-key", "x-request-id"]  # fmt: skip
CORS_EXPOSE_HEADERS = ["Age", "Content-Range", "ETag", "Location", "Retry-After", "X-Request-ID"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# Logins that fail lock out the pair of name and address; see absurd_project.login_protection.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = env.integer("ABSURD_LOGIN_FAILURES", least=1)
AXES_COOLOFF_TIME = timedelta(seconds=env.seconds("ABSURD_LOGIN_LOCKOUT_SEC", least=1.0))
AXES_USE_ATTEMPT_EXPIRATION = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_VERBOSE = False  # it would write a greeting to standard error of every command
AXES_ENABLE_ACCESS_FAILURE_LOG = False  # a row for each failure fills the disk; the log has a line
AXES_CLIENT_IP_CALLABLE = "tasks_app.auth.client_address.client_address"
AXES_LOCKOUT_CALLABLE = "absurd_project.login_protection.answer"
AXES_SENSITIVE_PARAMETERS = ["csrfmiddlewaretoken"]  # besides the password
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PRODUCTION else None
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
X_FRAME_OPTIONS = "DENY"
LOGIN_URL = "admin:login"
CSRF_FAILURE_VIEW = "absurd_project.urls.csrf_failure"

# Time, language, static files
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
FORMAT_MODULE_PATH = ["absurd_project.formats"]
STATIC_URL = "static/"
STATIC_ROOT = ABSURD_VAR / "static"
# Apache ECharts as its own package for browsers delivers it; the Python code around it is not imported.
ECHARTS = find_spec("instaui_echarts")  # missing where no web process runs
STATICFILES_DIRS = [("echarts", Path(ECHARTS.origin).parent / "static")] if ECHARTS and ECHARTS.origin else []
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = False

LOG_FORMAT = env.choice("ABSURD_LOG_FORMAT", ("line", "json"))
ABSURD_ACCESS_LOG = env.flag("ABSURD_ACCESS_LOG", default=PRODUCTION, shown="`true` in production")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "absurd_project.log_lines.OneLine",
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "absurd_project.log_lines.JsonLine"},
    },
    "filters": {"refusals": {"()": "absurd_project.log_lines.RefusalsInOneLine"}},
    "handlers": {
        "stderr": {"class": "tasks_app.log_writer.BackgroundHandler", "formatter": LOG_FORMAT, "filters": ["refusals"]}
    },
    "root": {"handlers": ["stderr"], "level": env.text("ABSURD_LOG_LEVEL").upper()},
    "loggers": {
        # Without Redis it writes a traceback a second; the feed logs once that it polls.
        "channels_redis.pubsub": {"level": "CRITICAL"},
        # It tells of every request.
        "httpx": {"level": "WARNING"},
        # It tells of every login and logout, several lines each; failed logins are warnings.
        "axes": {"level": "WARNING"},
    },
}

# How a fault drill starts commands, and starts and removes servers of its own: arguments for the interpreter.
ABSURD_MANAGE_COMMAND = ("-m", "absurd_project")
ABSURD_LOCAL_COMMAND = ("-m", "absurd_project.local")
