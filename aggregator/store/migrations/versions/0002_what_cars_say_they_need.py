"""What cars say they need.

Revision 0002, after 0001: what a car itself said of its session is kept with it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("car_needs", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("sessions", "car_needs")
