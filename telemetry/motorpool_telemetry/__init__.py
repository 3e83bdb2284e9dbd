"""What Motorpool's programs tell whoever watches over them: counted, exposed, traced and logged in one way."""
